"""Ray's pretended machines, of which a type may say how much memory it has: our actors ask for some."""

from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider


class Provider(FakeMultiNodeProvider):
    """Starts raylets of this host, which find out about its memory by themselves."""

    def _create_node_with_resources_and_labels(
        self, node_config: Any, tags: Any, count: Any, resources: dict[str, Any], labels: Any
    ) -> None:
        given = {name: n for name, n in resources.items() if name != "memory"}
        super()._create_node_with_resources_and_labels(node_config, tags, count, given, labels)
