"""Validate the files of Ray's cluster launcher with Ray and the API descriptions of AWS and Google Cloud."""

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


def prepare(deployment: Deployment, name: str) -> dict[str, Any]:
    """Validate a launcher file, and return it with Ray's defaults filled in."""
    config = prepare_config(deployment.document(name))
    validate_config(config)
    return config


def ray_problems(deployment: Deployment, name: str) -> Iterator[str]:
    """Yield what Ray rejects, or would install in addition to the image."""
    try:
        config = prepare(deployment, name)
    except (jsonschema.ValidationError, ValueError, AssertionError) as error:
        yield f"{name}: {str(error).splitlines()[0]}"
        return
    for kind in COMMANDS:
        for command in config[f"{kind}_commands"]:
            if "pip install" in command:
                yield f"{name}: {kind}_commands installs packages: {command[:60]}"
            if command.startswith("ray start"):
                yield from (f"{name}: {problem}" for problem in start_problems(command))
    head = config["available_node_types"][config["head_node_type"]]
    start_command = next((c for c in config["head_start_ray_commands"] if c.startswith("ray start")), "")
    if f"--num-cpus={head['resources'].get('CPU')} " not in start_command:
        yield f"{name}: resources of the head {head['resources']} differ from --num-cpus"
    if "--dashboard-host=127.0.0.1" not in start_command:
        yield f"{name}: the dashboard does not listen on the loopback address"


def start_problems(command: str) -> Iterator[str]:
    """Yield what is wrong with the options of a `ray start`."""
    try:
        start.make_context("ray start", shlex.split(command)[2:])
    except click.ClickException as error:
        yield error.format_message()


def aws_problems(deployment: Deployment) -> Iterator[str]:
    """Yield the node settings that EC2 would reject."""
    shape = (
        botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    )
    for kind, node in deployment.document(AWS)["available_node_types"].items():
        request = {**node["node_config"], "MinCount": 1, "MaxCount": 1}
        yield from (
            f"{kind}: {line}"
            for line in ParamValidator().validate(request, shape).generate_report().splitlines()
            if line
        )
        yield from (f"{kind}: unknown EC2 setting {key}" for key in _unknown(request, shape))


def _unknown(value: object, shape: Any) -> Iterator[str]:
    """Yield keys that are not in a shape; botocore ignores them."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        for key, member in value.items():
            if key in shape.members:
                yield from _unknown(member, shape.members[key])
            else:
                yield key
    elif shape.type_name == "list" and isinstance(value, list):
        for item in value:
            yield from _unknown(item, shape.member)


def gcp_problems(deployment: Deployment) -> Iterator[str]:
    """Yield the node settings that Compute Engine would reject."""
    documents = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    described = json.loads((documents / "compute.v1.json").read_text())["schemas"]
    schema = {"$ref": "#/definitions/Instance", "definitions": {k: _strict(v) for k, v in described.items()}}
    validator = jsonschema.Draft7Validator(schema)
    for kind, node in deployment.document(GCP)["available_node_types"].items():
        yield from (f"{kind}: {error.message}" for error in validator.iter_errors(node["node_config"]))


def _strict(node: Any) -> Any:
    """Convert a schema of Google's discovery format to JSON Schema, without additional properties."""
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return {"$ref": f"#/definitions/{node['$ref']}"}
    schema = {key: node[key] for key in ("type", "enum") if key in node and node[key] != "any"}
    if "items" in node:
        schema["items"] = _strict(node["items"])
    if "properties" in node:
        schema |= {"properties": {k: _strict(v) for k, v in node["properties"].items()}}
        schema["additionalProperties"] = False
    return schema


def policy_problems(deployment: Deployment) -> Iterator[str]:
    """Yield unknown actions in the policies, and permissions that are not restricted."""
    session = botocore.session.get_session()
    for name in POLICIES:
        for statement in json.loads(deployment.texts[name])["Statement"]:
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            for action in actions:
                service, _, operation = action.partition(":")
                if "*" in action:
                    yield f"{name}: {action} contains a wildcard"
                # Names of actions equal those of operations for EC2 and SSM, but not for S3 and IAM.
                known = service not in ("ec2", "ssm") or session.get_service_model(service).operation_names
                if known is not True and "*" not in action and operation not in known:
                    yield f"{name}: unknown action {action}"
                if statement["Resource"] == "*" and not operation.startswith("Describe"):
                    yield f"{name}: {action} on all resources"
                if operation in ("TerminateInstances", "CreateTags") and "Condition" not in statement:
                    yield f"{name}: {action} on any instance"


def is_allowed(deployment: Deployment, name: str, action: str) -> bool:
    """Return whether a policy allows an action on any resource."""
    for statement in json.loads(deployment.texts[name])["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if any(fnmatch.fnmatch(action, pattern) for pattern in actions):
            return True
    return False
