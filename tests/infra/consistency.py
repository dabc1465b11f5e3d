"""Checks that the files of a deployment are consistent with the code, the lock file, Ray and each other."""

from __future__ import annotations

import mmap
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import ray

from distspec.core.errors import ConfigError
from distspec.pipeline.config import Config
from distspec.pipeline.recipes import RECIPES, parse
from tests.infra.deployment import (
    ACCESS,
    CRONJOB,
    DOCKERFILE,
    FILES,
    GUIDE,
    IGNORED,
    IMAGE,
    KUBERAY,
    KUSTOMIZATION,
    LAUNCHERS,
    NETWORK,
    POLICIES,
    PROJECT,
    RAYCRONJOB,
    RAYJOB,
    TOP,
    Deployment,
    strings,
)

SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN|RAY_AUTH_TOKEN=(?!\$)|(?i:password|secret_access_key|auth_token)\s*[:=]\s*['\"]?\w"
)


def parse_job(job: str, args: list[str]) -> Config | str:
    """Return the configuration that a command line sets, or an error message."""
    if not (TOP / "jobs" / f"{job}.py").exists():
        return f"no module jobs.{job}"
    if not args or args[0] not in RECIPES:
        return f"jobs.{job} {args[:1]}: unknown recipe"
    try:
        return parse(args)
    except (ConfigError, SystemExit):
        return f"jobs.{job} {' '.join(args)}: invalid arguments"


def command_problems(deployment: Deployment) -> Iterator[str]:
    """Check every `python -m jobs…` command with the parser of distspec."""
    for name, job, args in deployment.jobs():
        if isinstance(config := parse_job(job, args), str):
            yield f"{name}: {config}"
        elif (
            config.root.startswith("s3://") and config.root.split("/")[2] not in deployment.texts[POLICIES[0]]
        ):
            yield f"{name}: the bucket of {config.root} is not in {POLICIES[0]}"


@cache
def is_known_to_ray(name: str) -> bool:
    """Return whether a name occurs in Ray's sources or its compiled library."""
    top = Path(ray.__file__).parent
    with (
        (top / "_raylet.so").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as core,
    ):
        if core.find(name.encode() + b"\0") >= 0 or core.find(b"\0" + name.encode()) >= 0:
            return True
    word = re.compile(rf"\b{name}\b")
    folders = ("_private", "_common", "autoscaler", "dashboard/modules/job", "scripts", "train")
    paths = [path for folder in folders for path in (top / folder).rglob("*.py")]
    return any(word.search(path.read_text(errors="ignore")) for path in paths)


def variable_problems(deployment: Deployment) -> Iterator[str]:
    """Check that Ray reads the environment variables that are set for it."""
    for name in FILES:
        for variable in sorted(set(re.findall(r"\bRAY_[A-Za-z0-9_]+", deployment.texts[name]))):
            if not is_known_to_ray(variable):
                yield f"{name}: Ray does not read {variable}"


def version_problems(deployment: Deployment) -> Iterator[str]:
    """Check that versions of images, rayVersion and the Dockerfile match the lock file and pyproject.toml."""
    project = tomllib.loads(deployment.texts[PROJECT])
    expected = {
        "distspec": project["project"]["version"],
        "python": project["tool"]["pyright"]["pythonVersion"],
        "ray": deployment.pinned()["ray"],
    }
    targets = set(re.findall(r"^FROM base AS (\w+)", deployment.texts[DOCKERFILE], re.MULTILINE))
    for name in FILES:
        for found in IMAGE.finditer(deployment.texts[name]):
            yield from (
                f"{name}: {found[0]} has {part} {found[part]}, expected {version}"
                for part, version in expected.items()
                if found[part] != version
            )
            if found["target"] not in targets:
                yield f"{name}: {found[0]}: {DOCKERFILE} has no such target"
    for name, cluster in deployment.clusters().items():
        if cluster["rayVersion"] != expected["ray"]:
            yield f"{name}: rayVersion {cluster['rayVersion']}, expected {expected['ray']}"
    if f"\nARG PYTHON={expected['python']}\n" not in deployment.texts[DOCKERFILE]:
        yield f"{DOCKERFILE}: default is not Python {expected['python']}"


def path_problems(deployment: Deployment) -> Iterator[str]:
    """Check that paths, users and tokens in one file match those in the others."""
    built = deployment.texts[DOCKERFILE]
    ignored = deployment.texts[IGNORED].splitlines()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", built, re.MULTILINE):
        for source in sources.split():
            if not (TOP / source).exists():
                yield f"{DOCKERFILE}: COPY {source}: no such file"
            if f"!{source}" not in ignored:
                yield f"{IGNORED}: excludes {source} from the build context"
    home = re.search(r"^ENV HOME=(\S+)", built, re.MULTILINE)
    user = re.search(r"useradd .*--uid (\d+) .*?(\w+) +&&", built.replace("\\\n", ""))
    if not home or not user or home[1] != f"/home/{user[2]}":
        yield f"{DOCKERFILE}: HOME is not the home of its user"
        return
    users = [line.split()[1] for line in built.splitlines() if line.startswith("USER ")]
    if users != [user[1]] * 2:
        yield f"{DOCKERFILE}: final users are {users}, expected {user[1]}"
    for name in LAUNCHERS:
        config = deployment.document(name)
        ((remote, local),) = config["file_mounts"].items()
        variables = dict(re.findall(r"--env (\w+)=(\S+)", " ".join(config["docker"]["run_options"])))
        if variables.get("RAY_AUTH_MODE") != "token":
            yield f"{name}: no token authentication"
        if variables.get("RAY_AUTH_TOKEN_PATH") != f"{remote}/auth_token":
            yield f"{name}: RAY_AUTH_TOKEN_PATH is not the path of the token"
        if f" {remote}\n" not in built:
            yield f"{DOCKERFILE}: does not create {remote} for the token"
        if f"{local}/auth_token" not in deployment.texts[GUIDE]:
            yield f"{GUIDE}: does not describe {local}/auth_token"
    for name, cluster in deployment.clusters().items():
        if cluster.get("authOptions", {}).get("mode") != "token":
            yield f"{name}: no token authentication"
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            if str(group["template"]["spec"]["securityContext"]["runAsUser"]) != user[1]:
                yield f"{name}: runAsUser is not the user of the image"


def name_problems(deployment: Deployment) -> Iterator[str]:
    """Check references between Kubernetes objects, and that duplicated specs are equal."""
    cluster, *others = deployment.clusters().items()
    for name, other in others:
        if other != cluster[1]:
            yield f"{name}: cluster spec differs from that of {cluster[0]}"
    job, scheduled = deployment.document(RAYJOB), deployment.document(RAYCRONJOB)
    if scheduled["spec"]["jobTemplate"] != job["spec"]:
        yield f"{RAYCRONJOB}: job spec differs from that of {RAYJOB}"
    cron = deployment.document(CRONJOB)["spec"]
    if any(cron[key] != scheduled["spec"][key] for key in ("schedule", "timeZone")):
        yield f"{RAYCRONJOB}: schedule differs from that of {CRONJOB}"
    pod = cron["jobTemplate"]["spec"]["template"]["spec"]
    kustomization = deployment.document(KUSTOMIZATION)
    yield from (
        f"{KUSTOMIZATION}: {name} does not exist"
        for name in [*kustomization["resources"], *kustomization["configMapGenerator"][0]["files"]]
        if not (TOP / KUBERAY / name).exists()
    )
    if pod["volumes"][0]["configMap"]["name"] != kustomization["configMapGenerator"][0]["name"]:
        yield f"{CRONJOB}: its ConfigMap is not generated by {KUSTOMIZATION}"
    files = [arg.removeprefix("--filename=") for arg in strings(pod) if arg.startswith("--filename=")]
    mounts = [m["mountPath"] for c in pod["initContainers"] for m in c.get("volumeMounts", [])]
    if files != [f"{mounts[0]}/{name}" for name in kustomization["configMapGenerator"][0]["files"]]:
        yield f"{CRONJOB}: creates {files}, mounted are {mounts}"
    job_name = job["metadata"]["name"]
    referenced = {arg.removeprefix("rayjob/") for arg in strings(pod) if arg.startswith("rayjob/")}
    access = {(item["kind"], item["metadata"]["name"]): item for item in deployment.documents(ACCESS)}
    role = access["Role", "distspec-schedule"]
    referenced |= {name for rule in role["rules"] for name in rule.get("resourceNames", [])}
    if referenced != {job_name}:
        yield f"{RAYJOB}: name is {job_name}; the schedule refers to {sorted(referenced)}"
    if any("*" in text or text == "secrets" for rule in role["rules"] for text in strings(rule)):
        yield f"{ACCESS}: the role of the schedule is too broad"
    namespaces = {arg for arg in strings(pod) if arg.startswith("--namespace=")}
    if (
        namespaces != {f"--namespace={kustomization['namespace']}"}
        or ("Namespace", kustomization["namespace"]) not in access
    ):
        yield f"{CRONJOB}: {sorted(namespaces)}, expected namespace {kustomization['namespace']}"
    groups = [cluster[1]["headGroupSpec"], *cluster[1]["workerGroupSpecs"]]
    templates = [group["template"] for group in groups] + [job["spec"]["submitterPodTemplate"]]
    for account in [pod["serviceAccountName"], *(t["spec"]["serviceAccountName"] for t in templates)]:
        if ("ServiceAccount", account) not in access:
            yield f"{ACCESS}: no ServiceAccount {account}"
    labels = deployment.document(NETWORK)["spec"]["podSelector"]["matchLabels"].items()
    if not all(labels <= template["metadata"]["labels"].items() for template in templates):
        yield f"{NETWORK}: does not select all pods"
    if cron["concurrencyPolicy"] != "Forbid":
        yield f"{CRONJOB}: concurrent runs are not forbidden"
    timeout = re.search(r"--timeout=(\d+)s", " ".join(pod["initContainers"][-1]["args"]))
    if not timeout or int(timeout[1]) < job["spec"]["activeDeadlineSeconds"]:
        yield f"{CRONJOB}: timeout is shorter than the deadline of {RAYJOB}"


def secret_problems(deployment: Deployment) -> Iterator[str]:
    """Check that no file contains a secret."""
    for name in FILES:
        for line in deployment.texts[name].splitlines():
            if SECRET.search(line):
                yield f"{name}: {line.strip()[:60]}"
    for name, document in deployment.manifests():
        if document["kind"] == "Secret":
            yield f"{name}: contains a Secret"
    for line in deployment.texts[DOCKERFILE].splitlines():
        if re.search(r"(ARG|ENV).*(TOKEN|SECRET|PASSWORD)", line):
            yield f"{DOCKERFILE}: {line}"


CHECKS = {
    check.__name__: check
    for check in (
        command_problems,
        variable_problems,
        version_problems,
        path_problems,
        name_problems,
        secret_problems,
    )
}
