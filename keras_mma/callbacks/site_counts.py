"""How often each site of a mixer fires."""

from typing import Any

import keras
import numpy as np
from keras import ops


class SiteCounts(keras.metrics.Metric):
    """How often each site fired since the rates were read last; it adds nothing to the logs."""

    def __init__(self, sites: list[int]) -> None:
        super().__init__(name="site_counts", dtype="float32")
        self.sites = sites
        self.counts = self.add_variable((len(sites),), "zeros", name="counts")

    def update_state(self, plan: Any) -> None:
        self.counts.assign_add(ops.cast(ops.equal(plan["site"], np.array(self.sites, "int32")), "float32"))

    def result(self) -> dict:
        return {}

    def reset_state(self) -> None:
        """Keep the counts: Keras resets metrics before an epoch and before each evaluation."""

    def rates(self) -> dict[str, float]:
        counts = ops.convert_to_numpy(self.counts)
        self.counts.assign(np.zeros_like(counts))
        rates = counts / max(counts.sum(), 1.0)
        return {f"site{site}/rate": float(rate) for site, rate in zip(self.sites, rates, strict=True)}
