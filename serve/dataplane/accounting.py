"""What an ingress counts of judged models: who was assigned where, and what the clients got.

Only models whose variants are being judged are counted, and of their requests those that the router placed.
"""

import time

from serve.dataplane.call import Call
from serve.dataplane.observations import CHOSEN_BY_THE_ROUTER, Observations
from serve.dataplane.router import Assignment
from serve.dataplane.upstreams import Upstreams
from serve.errors import CLIENT_WENT_AWAY, STATUS, Overloaded


class Accounting:
    """Writes into `observations`, which the controller is told."""

    def __init__(self, upstreams: Upstreams) -> None:
        self.upstreams = upstreams
        self.observations = Observations()

    def assigned(self, assignment: Assignment, client: str | None) -> None:
        """Of requests that every variant with a share could have answered: to count others by whom they fell to would
        leave out those who prefer one that is down."""
        if assignment.model in self.upstreams.snapshot.judged:
            traffic = self.upstreams.snapshot.traffic[assignment.model]
            version, sticky = traffic.version, traffic.traffic.sticky
            self.observations.assigned(assignment, client if sticky else None, version)

    def served(self, call: Call) -> None:
        """What a request's client got, for a model whose variants are being judged. One that was turned away by a full
        queue failed; one whose client went away was late, if it was. The client's fault counts for nothing, nor does
        another variant's: what fell back from one that is down, and how crowded it makes the others."""
        assert call.assignment is not None
        assert call.upstream is not None
        model, digest = call.assignment.model, call.upstream.manifest.digest
        if model not in self.upstreams.snapshot.judged or call.assignment.reason not in CHOSEN_BY_THE_ROUTER:
            return
        all_up, took = self.upstreams.all_up(model), time.perf_counter() - call.arrived
        objective = self.upstreams.snapshot.judged[model] if all_up else None
        if call.status == CLIENT_WENT_AWAY:
            if objective is not None and took > objective:
                self.observations.late(model, digest, objective)
        elif (call.status == STATUS[Overloaded] and all_up) or not 400 <= call.status < 500:
            self.observations.served(model, digest, call.status != 200, took, objective)

    def unplaced(self, call: Call) -> None:
        """Nobody could answer: a failure of the variant that was to, for a model whose variants are being judged."""
        model = call.target.model
        if model not in self.upstreams.snapshot.judged or call.target.variant or call.assignment is not None:
            return  # not judged, not the router's, or counted with whom it was placed first
        upstream, assignment = self.upstreams.preferred(call.target, call.client)
        if assignment.reason != "pinned":
            took, objective = time.perf_counter() - call.arrived, self.upstreams.snapshot.judged[model]
            self.observations.served(model, upstream.manifest.digest, True, took, objective)
