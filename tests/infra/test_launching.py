"""Ray, EC2 and Compute Engine take the launcher's files; the policies allow what Ray does, and no more."""

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
    prepared,
    ray_problems,
)

HEAD, OPERATOR = "infra/aws/head-policy.json", "infra/aws/operator-policy.json"


@pytest.mark.parametrize("name", LAUNCHERS)
def test_ray_takes_it(deployment, name):
    assert list(ray_problems(deployment, name)) == []


@pytest.mark.parametrize("name", LAUNCHERS)
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_workers: 12", "max_workers: 1", "max_workers"),
        ("head_node_type: head", "head_node_type: chief", "head_node_type"),
        ("upscaling_speed", "upscaling_sped", "upscaling_sped"),
        ("container_name: distspec", "pull_before_run: true", "container"),
        ("\nsetup_commands: []\n", "\n", "installs beside the image"),
        ("--object-manager-port=8076", "--object-manger-port=8076", "No such option"),
        ("--port=6379", "--port=many", "not a valid integer"),
        ("--num-cpus=0 ", "--num-cpus=4 ", "not what it starts with"),
        ("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "loopback"),
    ],
)
def test_ray_refuses_a_broken_one(deployment, name, old, new, said):
    assert said in "\n".join(ray_problems(deployment.but(name, old, new), name))


def test_ec2_takes_its_nodes(deployment):
    assert list(aws_problems(deployment)) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
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
def test_ec2_refuses_broken_ones(deployment, old, new, said):
    assert said in "\n".join(aws_problems(deployment.but(AWS, old, new)))


def test_compute_engine_takes_its_nodes(deployment):
    assert list(gcp_problems(deployment)) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('diskSizeGb: "150"', "diskSizeGb: 150", "150"),
        ("guestAccelerators", "guestAccelerator", "guestAccelerator"),
        ("provisioningModel: SPOT", "provisioningModel: CHEAP", "CHEAP"),
        ("acceleratorCount: 1", "acceleratorCount: one", "one"),
    ],
)
def test_compute_engine_refuses_broken_ones(deployment, old, new, said):
    assert said in "\n".join(gcp_problems(deployment.but(GCP, old, new)))


def test_policies_name_what_is_there_and_bound_it(deployment):
    assert list(policy_problems(deployment)) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ec2:DescribeSubnets", "ec2:DescribeSubnet", "no ec2:DescribeSubnet"),
        ('"ec2:TerminateInstances"', '"ec2:*"', "more than is needed"),
        ("arn:aws:ssm:*::parameter/aws/service/deeplearning/ami/*", "*", "on everything"),
        ('"Condition"', '"Conditions"', "on any instance"),
    ],
)
def test_policies_that_say_too_much_are_seen(deployment, old, new, said):
    assert said in "\n".join(policy_problems(deployment.but(HEAD, old, new)))


@pytest.fixture
def account(deployment, monkeypatch, tmp_path):
    """An account at a pretended AWS, made ready as docs/guides/clusters.md says, and what is asked of it."""
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
        ask = botocore.client.BaseClient._make_api_call

        def noted(client, operation, arguments):
            calls.append(f"{client.meta.service_model.service_name}:{operation}")
            return ask(client, operation, arguments)

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", noted)
        yield calls
        open_to = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
        assert [rule["IpRanges"] for rule in open_to] == [[{"CidrIp": "192.0.2.7/32"}]]


def test_the_policies_allow_what_ray_does(deployment, account):
    config = AWSNodeProvider.fillout_available_node_types_resources(prepared(deployment, AWS))
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
    # The head makes no keys, nobody makes security groups or roles: Ray would open one to the world.
    assert not is_allowed(deployment, HEAD, "ec2:CreateKeyPair")
    assert not is_allowed(deployment, OPERATOR, "ec2:AuthorizeSecurityGroupIngress")


def test_an_action_that_a_policy_lacks_is_seen(deployment):
    broken = deployment.but(HEAD, '"ec2:TerminateInstances"', '"ec2:StopInstances"')
    assert not is_allowed(broken, HEAD, "ec2:TerminateInstances")
