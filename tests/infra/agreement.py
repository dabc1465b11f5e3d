"""What the files of a deployment say that the code, the lock, Ray or each other do not."""

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


def parsed(job: str, args: list[str]) -> Config | str:
    """Return what a command line sets, or why it runs not at all."""
    if not (TOP / "jobs" / f"{job}.py").exists():
        return f"there is no jobs.{job}"
    if not args or args[0] not in RECIPES:
        return f"jobs.{job} {args[:1]}: no recipe"
    try:
        return parse(args)
    except (ConfigError, SystemExit):
        return f"jobs.{job} {' '.join(args)}: distspec does not take that"


def command_problems(deployment: Deployment) -> Iterator[str]:
    """Check every `python -m jobs…` with distspec's own parser."""
    for name, job, args in deployment.jobs():
        if isinstance(said := parsed(job, args), str):
            yield f"{name}: {said}"
        elif said.root.startswith("s3://") and said.root.split("/")[2] not in deployment.texts[POLICIES[0]]:
            yield f"{name}: {said.root} is in no bucket that {POLICIES[0]} names"


@cache
def known_to_ray(name: str) -> bool:
    """Tell whether Ray's sources or its library hold a name."""
    top = Path(ray.__file__).parent
    with (
        (top / "_raylet.so").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as core,
    ):
        if core.find(name.encode() + b"\0") >= 0 or core.find(b"\0" + name.encode()) >= 0:
            return True
    word = re.compile(rf"\b{name}\b")
    folders = ("_private", "_common", "autoscaler", "scripts", "train")
    paths = [path for folder in folders for path in (top / folder).rglob("*.py")]
    return any(word.search(path.read_text(errors="ignore")) for path in paths)


def variable_problems(deployment: Deployment) -> Iterator[str]:
    """Check that Ray reads the variables that are set for it."""
    for name in FILES:
        for variable in sorted(set(re.findall(r"\bRAY_[A-Za-z0-9_]+", deployment.texts[name]))):
            if not known_to_ray(variable):
                yield f"{name}: Ray knows no {variable}"


def version_problems(deployment: Deployment) -> Iterator[str]:
    """Check that images, rayVersion and the Dockerfile name what the lock and pyproject.toml do."""
    project = tomllib.loads(deployment.texts[PROJECT])
    right = {
        "distspec": project["project"]["version"],
        "python": project["tool"]["pyright"]["pythonVersion"],
        "ray": deployment.pinned()["ray"],
    }
    targets = set(re.findall(r"^FROM base AS (\w+)", deployment.texts[DOCKERFILE], re.MULTILINE))
    for name in FILES:
        for found in IMAGE.finditer(deployment.texts[name]):
            yield from (
                f"{name}: {found[0]} says {part} {found[part]}, it is {version}"
                for part, version in right.items()
                if found[part] != version
            )
            if found["target"] not in targets:
                yield f"{name}: {found[0]}: {DOCKERFILE} makes no such target"
    for name, cluster in deployment.clusters().items():
        if cluster["rayVersion"] != right["ray"]:
            yield f"{name}: rayVersion {cluster['rayVersion']}, it is {right['ray']}"
    if f"\nARG PYTHON={right['python']}\n" not in deployment.texts[DOCKERFILE]:
        yield f"{DOCKERFILE}: not of Python {right['python']}"


def path_problems(deployment: Deployment) -> Iterator[str]:
    """Check that what one file puts somewhere is where another looks for it."""
    built = deployment.texts[DOCKERFILE]
    ignored = deployment.texts[IGNORED].splitlines()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", built, re.MULTILINE):
        for source in sources.split():
            if not (TOP / source).exists():
                yield f"{DOCKERFILE}: COPY {source}: no such file"
            if f"!{source}" not in ignored:
                yield f"{IGNORED}: keeps {source} from the builder"
    home = re.search(r"^ENV HOME=(\S+)", built, re.MULTILINE)
    user = re.search(r"useradd .*--uid (\d+) .*?(\w+) +&&", built.replace("\\\n", ""))
    if not home or not user or home[1] != f"/home/{user[2]}":
        yield f"{DOCKERFILE}: HOME is not its user's"
        return
    last = [line.split()[1] for line in built.splitlines() if line.startswith("USER ")]
    if last != [user[1]] * 2:
        yield f"{DOCKERFILE}: ends as {last}, not as {user[1]}"
    for name in LAUNCHERS:
        config = deployment.document(name)
        ((there, mine),) = config["file_mounts"].items()
        variables = dict(re.findall(r"--env (\w+)=(\S+)", " ".join(config["docker"]["run_options"])))
        if variables.get("RAY_AUTH_MODE") != "token":
            yield f"{name}: without token authentication"
        if variables.get("RAY_AUTH_TOKEN_PATH") != f"{there}/auth_token":
            yield f"{name}: the token is not where RAY_AUTH_TOKEN_PATH points"
        if f" {there}\n" not in built:
            yield f"{DOCKERFILE}: makes no {there} for the token"
        if f"{mine}/auth_token" not in deployment.texts[GUIDE]:
            yield f"{GUIDE}: does not say to make {mine}/auth_token"
    for name, cluster in deployment.clusters().items():
        if cluster.get("authOptions", {}).get("mode") != "token":
            yield f"{name}: without token authentication"
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            if str(group["template"]["spec"]["securityContext"]["runAsUser"]) != user[1]:
                yield f"{name}: runs as another than the image's user"


def name_problems(deployment: Deployment) -> Iterator[str]:
    """Check that Kubernetes' objects name each other rightly, and that copies are copies."""
    cluster, *others = deployment.clusters().items()
    for name, other in others:
        if other != cluster[1]:
            yield f"{name}: its cluster is not that of {cluster[0]}"
    job, repeated = deployment.document(RAYJOB), deployment.document(RAYCRONJOB)
    if repeated["spec"]["jobTemplate"] != job["spec"]:
        yield f"{RAYCRONJOB}: its job is not that of {RAYJOB}"
    cron = deployment.document(CRONJOB)["spec"]
    if any(cron[key] != repeated["spec"][key] for key in ("schedule", "timeZone")):
        yield f"{RAYCRONJOB}: its schedule is not that of {CRONJOB}"
    pod = cron["jobTemplate"]["spec"]["template"]["spec"]
    made = deployment.document(KUSTOMIZATION)
    yield from (
        f"{KUSTOMIZATION}: no {name}"
        for name in [*made["resources"], *made["configMapGenerator"][0]["files"]]
        if not (TOP / KUBERAY / name).exists()
    )
    if pod["volumes"][0]["configMap"]["name"] != made["configMapGenerator"][0]["name"]:
        yield f"{CRONJOB}: its ConfigMap is made by nobody"
    wanted = [arg.removeprefix("--filename=") for arg in strings(pod) if arg.startswith("--filename=")]
    mounts = [m["mountPath"] for c in pod["initContainers"] for m in c.get("volumeMounts", [])]
    if wanted != [f"{mounts[0]}/{name}" for name in made["configMapGenerator"][0]["files"]]:
        yield f"{CRONJOB}: reads {wanted}, mounted is {mounts}"
    title = job["metadata"]["name"]
    named = {arg.removeprefix("rayjob/") for arg in strings(pod) if arg.startswith("rayjob/")}
    access = {(each["kind"], each["metadata"]["name"]): each for each in deployment.documents(ACCESS)}
    role = access["Role", "distspec-schedule"]
    named |= {name for rule in role["rules"] for name in rule.get("resourceNames", [])}
    if named != {title}:
        yield f"{RAYJOB}: is {title}; the schedule knows {sorted(named)}"
    if any("*" in said or said == "secrets" for rule in role["rules"] for said in strings(rule)):
        yield f"{ACCESS}: the schedule may do more than it must"
    spaces = {arg for arg in strings(pod) if arg.startswith("--namespace=")}
    if spaces != {f"--namespace={made['namespace']}"} or ("Namespace", made["namespace"]) not in access:
        yield f"{CRONJOB}: {sorted(spaces)}, the namespace is {made['namespace']}"
    groups = [cluster[1]["headGroupSpec"], *cluster[1]["workerGroupSpecs"]]
    templates = [group["template"] for group in groups] + [job["spec"]["submitterPodTemplate"]]
    for account in [pod["serviceAccountName"], *(t["spec"]["serviceAccountName"] for t in templates)]:
        if ("ServiceAccount", account) not in access:
            yield f"{ACCESS}: no ServiceAccount {account}"
    labels = deployment.document(NETWORK)["spec"]["podSelector"]["matchLabels"].items()
    if not all(labels <= template["metadata"]["labels"].items() for template in templates):
        yield f"{NETWORK}: guards not all pods"
    if cron["concurrencyPolicy"] != "Forbid":
        yield f"{CRONJOB}: two nights may overlap"
    patience = re.search(r"--timeout=(\d+)s", " ".join(pod["initContainers"][-1]["args"]))
    if not patience or int(patience[1]) < job["spec"]["activeDeadlineSeconds"]:
        yield f"{CRONJOB}: gives up before {RAYJOB} has to end"


def secret_problems(deployment: Deployment) -> Iterator[str]:
    """Check that nothing secret is written down."""
    for name in FILES:
        for line in deployment.texts[name].splitlines():
            if SECRET.search(line):
                yield f"{name}: {line.strip()[:60]}"
    for name, document in deployment.manifests():
        if document["kind"] == "Secret":
            yield f"{name}: a Secret"
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
