"""What is wrong with the launcher's files: said by Ray, and by AWS's and Google's own descriptions."""

from __future__ import annotations

import fnmatch
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import click
import googleapiclient
import jsonschema
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

from tests.infra.deployment import AWS, GCP, POLICIES, Deployment

COMMANDS = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")


def prepared(deployment: Deployment, name: str) -> dict[str, Any]:
    """Return a launcher's file as Ray completes it, having validated it."""
    config = prepare_config(deployment.document(name))
    validate_config(config)
    return config


def ray_problems(deployment: Deployment, name: str) -> Iterator[str]:
    """Say what Ray does not take, or would do on top of what is said."""
    try:
        config = prepared(deployment, name)
    except (jsonschema.ValidationError, ValueError, AssertionError) as error:
        yield f"{name}: {str(error).splitlines()[0]}"
        return
    for kind in COMMANDS:
        for command in config[f"{kind}_commands"]:
            if "pip install" in command:
                yield f"{name}: {kind}_commands installs beside the image: {command[:60]}"
            if command.startswith("ray start"):
                yield from (f"{name}: {problem}" for problem in _start_problems(command))
    head = config["available_node_types"][config["head_node_type"]]
    told = next((c for c in config["head_start_ray_commands"] if c.startswith("ray start")), "")
    if f"--num-cpus={head['resources'].get('CPU')} " not in told:
        yield f"{name}: the head's resources {head['resources']} are not what it starts with"
    if "--dashboard-host=127.0.0.1" not in told:
        yield f"{name}: the dashboard is not on the loopback address"


def _start_problems(command: str) -> Iterator[str]:
    try:
        start.make_context("ray start", shlex.split(command)[2:])
    except click.ClickException as error:
        yield error.format_message()


def aws_problems(deployment: Deployment) -> Iterator[str]:
    """Say what EC2 would not understand of a node's settings."""
    shape = (
        botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    )
    for kind, node in deployment.document(AWS)["available_node_types"].items():
        asked = {**node["node_config"], "MinCount": 1, "MaxCount": 1}
        yield from (
            f"{kind}: {line}"
            for line in ParamValidator().validate(asked, shape).generate_report().splitlines()
            if line
        )
        yield from (f"{kind}: EC2 knows no {key}" for key in _unknown(asked, shape))


def _unknown(asked: object, shape: Any) -> Iterator[str]:
    """Yield keys that a shape lacks: botocore lets them pass."""
    if shape.type_name == "structure" and isinstance(asked, Mapping):
        for key, value in asked.items():
            if key in shape.members:
                yield from _unknown(value, shape.members[key])
            else:
                yield key
    elif shape.type_name == "list" and isinstance(asked, list):
        for value in asked:
            yield from _unknown(value, shape.member)


def gcp_problems(deployment: Deployment) -> Iterator[str]:
    """Say what Compute Engine would not understand of a node's settings."""
    documents = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    described = json.loads((documents / "compute.v1.json").read_text())["schemas"]
    schema = {"$ref": "#/definitions/Instance", "definitions": {k: _strict(v) for k, v in described.items()}}
    validator = jsonschema.Draft7Validator(schema)
    for kind, node in deployment.document(GCP)["available_node_types"].items():
        yield from (f"{kind}: {error.message}" for error in validator.iter_errors(node["node_config"]))


def _strict(node: Any) -> Any:
    """Return a schema of Google's in the words of JSON Schema, unknown fields refused."""
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return {"$ref": f"#/definitions/{node['$ref']}"}
    kept = {key: node[key] for key in ("type", "enum") if key in node and node[key] != "any"}
    if "items" in node:
        kept["items"] = _strict(node["items"])
    if "properties" in node:
        kept |= {"properties": {k: _strict(v) for k, v in node["properties"].items()}}
        kept["additionalProperties"] = False
    return kept


def policy_problems(deployment: Deployment) -> Iterator[str]:
    """Say what the policies name that AWS lacks, and what they allow without bounds."""
    session = botocore.session.get_session()
    for name in POLICIES:
        for statement in json.loads(deployment.texts[name])["Statement"]:
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            for action in actions:
                service, _, operation = action.partition(":")
                if "*" in action:
                    yield f"{name}: {action} is more than is needed"
                # What S3 and IAM call actions are not the names of their operations.
                known = service not in ("ec2", "ssm") or session.get_service_model(service).operation_names
                if known is not True and "*" not in action and operation not in known:
                    yield f"{name}: AWS has no {action}"
                if statement["Resource"] == "*" and not operation.startswith("Describe"):
                    yield f"{name}: {action} on everything"
                if operation in ("TerminateInstances", "CreateTags") and "Condition" not in statement:
                    yield f"{name}: {action} on any instance"


def is_allowed(deployment: Deployment, name: str, action: str) -> bool:
    """Tell whether a policy allows an action at all."""
    for statement in json.loads(deployment.texts[name])["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if any(fnmatch.fnmatch(action, each) for each in actions):
            return True
    return False
