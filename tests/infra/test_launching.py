"""Ray, EC2 and Compute Engine accept the launcher files; the policies allow only the calls that Ray makes."""

import copy

import boto3
import botocore.client
import pytest
from moto import mock_aws
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

from tests.infra.deployment import AWS, GCP, LAUNCHERS, TRUST
from tests.infra.launching import (
    aws_problems,
    gcp_problems,
    is_allowed,
    policy_problems,
    prepare,
    ray_problems,
)

HEAD, OPERATOR = "infra/aws/head-policy.json", "infra/aws/operator-policy.json"


@pytest.mark.parametrize("name", LAUNCHERS)
def test_ray_accepts_the_launcher_files(deployment, name):
    assert list(ray_problems(deployment, name)) == []


@pytest.mark.parametrize("name", LAUNCHERS)
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_workers: 12", "max_workers: 1", "max_workers"),
        ("head_node_type: head", "head_node_type: chief", "head_node_type"),
        ("upscaling_speed", "upscaling_sped", "upscaling_sped"),
        ("container_name: distspec", "pull_before_run: true", "container"),
        ("\nsetup_commands: []\n", "\n", "installs packages"),
        ("--object-manager-port=8076", "--object-manger-port=8076", "No such option"),
        ("--port=6379", "--port=many", "not a valid integer"),
        ("--num-cpus=0 ", "--num-cpus=4 ", "differ from --num-cpus"),
        ("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "loopback"),
    ],
)
def test_errors_of_launcher_files_are_reported(deployment, name, old, new, message):
    assert message in "\n".join(ray_problems(deployment.replace(name, old, new), name))


def test_ec2_accepts_the_node_settings(deployment):
    assert list(aws_problems(deployment)) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("VolumeSize: 150", "VolumeSize: large", "VolumeSize"),
        ("VolumeType", "VolumeTipe", "VolumeTipe"),
        (
            "InstanceMarketOptions: { MarketType: spot }",
            "InstanceMarketOptions: spot",
            "InstanceMarketOptions",
        ),
        ("IamInstanceProfile: { Name", "IamInstanceProfile: { Nam", "Nam"),
        ("HttpTokens", "HttpTokns", "HttpTokns"),
    ],
)
def test_invalid_ec2_settings_are_reported(deployment, old, new, message):
    assert message in "\n".join(aws_problems(deployment.replace(AWS, old, new)))


def test_compute_engine_accepts_the_node_settings(deployment):
    assert list(gcp_problems(deployment)) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('diskSizeGb: "150"', "diskSizeGb: 150", "150"),
        ("guestAccelerators", "guestAccelerator", "guestAccelerator"),
        ("provisioningModel: SPOT", "provisioningModel: CHEAP", "CHEAP"),
        ("acceleratorCount: 1", "acceleratorCount: one", "one"),
    ],
)
def test_invalid_compute_engine_settings_are_reported(deployment, old, new, message):
    assert message in "\n".join(gcp_problems(deployment.replace(GCP, old, new)))


def test_policies_have_known_and_restricted_actions(deployment):
    assert list(policy_problems(deployment)) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ec2:DescribeSubnets", "ec2:DescribeSubnet", "unknown action ec2:DescribeSubnet"),
        ('"ec2:TerminateInstances"', '"ec2:*"', "contains a wildcard"),
        ("arn:aws:ssm:*::parameter/aws/service/deeplearning/ami/*", "*", "on all resources"),
        ('"Condition"', '"Conditions"', "on any instance"),
    ],
)
def test_unknown_or_unrestricted_actions_are_reported(deployment, old, new, message):
    assert message in "\n".join(policy_problems(deployment.replace(HEAD, old, new)))


@pytest.fixture
def account(deployment, monkeypatch, tmp_path):
    """Simulated AWS account, set up as in docs/guides/clusters.md; yields the list of API calls."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes its key there
    calls: list[str] = []
    with mock_aws():
        ec2, iam = boto3.client("ec2"), boto3.client("iam")
        for role in ("distspec-head", "distspec-worker"):
            iam.create_role(RoleName=role, AssumeRolePolicyDocument=deployment.texts[TRUST])
            iam.create_instance_profile(InstanceProfileName=role)
            iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="distspec", Description="nodes", VpcId=vpc)["GroupId"]
        ssh = {"FromPort": 22, "ToPort": 22, "IpProtocol": "tcp", "IpRanges": [{"CidrIp": "192.0.2.7/32"}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh])
        make_api_call = botocore.client.BaseClient._make_api_call

        def record_call(client, operation, arguments):
            calls.append(f"{client.meta.service_model.service_name}:{operation}")
            return make_api_call(client, operation, arguments)

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", record_call)
        yield calls
        permissions = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
        assert [rule["IpRanges"] for rule in permissions] == [[{"CidrIp": "192.0.2.7/32"}]]


def test_policies_allow_the_calls_of_ray(deployment, account):
    config = AWSNodeProvider.fillout_available_node_types_resources(prepare(deployment, AWS))
    config = bootstrap_aws(config)
    by_operator = set(account)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for kind, node in config["available_node_types"].items():
        provider.create_node(copy.deepcopy(node["node_config"]), {"ray-node-name": kind}, 1)
    nodes = provider.non_terminated_nodes({})
    assert len(nodes) == 3
    provider.set_node_tags(nodes[0], {"ray-node-status": "up-to-date"})
    provider.terminate_nodes(nodes)
    by_both = set(account) - by_operator | {"ec2:DescribeInstances", "iam:PassRole", "ssm:GetParameters"}
    assert {"ec2:RunInstances", "ec2:CreateTags", "ec2:TerminateInstances"} <= by_both
    assert [action for action in by_operator | by_both if not is_allowed(deployment, OPERATOR, action)] == []
    assert [action for action in by_both if not is_allowed(deployment, HEAD, action)] == []
    # Ray would open a security group to every address; only operators create keys.
    assert not is_allowed(deployment, HEAD, "ec2:CreateKeyPair")
    assert not is_allowed(deployment, OPERATOR, "ec2:AuthorizeSecurityGroupIngress")


def test_missing_action_is_not_allowed(deployment):
    broken = deployment.replace(HEAD, '"ec2:TerminateInstances"', '"ec2:StopInstances"')
    assert not is_allowed(broken, HEAD, "ec2:TerminateInstances")
