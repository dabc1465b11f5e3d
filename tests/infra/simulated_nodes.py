"""Ray's simulated nodes, with support for node types that declare memory, which the actors request."""

from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider


class Provider(FakeMultiNodeProvider):
    """Start raylets on this host, which detect its memory."""

    def _create_node_with_resources_and_labels(
        self, node_config: Any, tags: Any, count: Any, resources: dict[str, Any], labels: Any
    ) -> None:
        without_memory = {name: n for name, n in resources.items() if name != "memory"}
        super()._create_node_with_resources_and_labels(node_config, tags, count, without_memory, labels)
