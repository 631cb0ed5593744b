"""Counts of an ingress for judged models: assignments of clients, and results of their requests.

Only models whose variants are being judged are counted, and only requests whose variant the router chose.
"""

import time

from serve.config.snapshot import Judged
from serve.dataplane.call import Call
from serve.dataplane.observations import CHOSEN_BY_THE_ROUTER, Observations
from serve.dataplane.router import Assignment
from serve.dataplane.second_opinion import SecondOpinion
from serve.dataplane.served import Result
from serve.dataplane.upstream import Upstream
from serve.dataplane.upstreams import Upstreams
from serve.errors import CLIENT_WENT_AWAY, STATUS, Overloaded

ANSWERED_FOR = (*CHOSEN_BY_THE_ROUTER, "capable")
"""Reasons whose results are the variant's own."""


class Accounting:
    """Writes into `observations`, which are sent to the controller. Without a `second_opinion` each failure counts."""

    def __init__(self, upstreams: Upstreams, second_opinion: SecondOpinion | None = None) -> None:
        self.upstreams, self.second_opinion = upstreams, second_opinion
        self.observations = Observations()

    def routed(self, call: Call) -> None:
        """Count a judged model's request that names no variant, and the artifacts that cannot answer it."""
        model = call.target.model
        if model in self.upstreams.snapshot.judged and not call.target.variant:
            self.observations.routed(model, self.upstreams.unable(model, call.needs))

    def assigned(self, assignment: Assignment, client: str | None, key: str | None) -> None:
        """Count an assignment of a client of an API key. Call only while every variant with weight is ready: otherwise
        the counts lack the clients whose preferred variant is down."""
        if assignment.model in self.upstreams.snapshot.judged:
            traffic = self.upstreams.snapshot.traffic[assignment.model]
            version, sticky = traffic.version, traffic.traffic.sticky
            hashes = self.upstreams.hash_keys
            name = hashes.client_of(None, client) if sticky else None
            sender = key, None if client is None else hashes.client_of(key, client)
            self.observations.assigned(assignment, name, version, sender)

    def served(self, call: Call) -> None:
        """Count the result of a judged model's request.

        A request refused by a full queue failed. Any other failure counts if the other arm answers that request, and
        counts for nothing if it does not (`serve.dataplane.second_opinion`). That holds for a 4xx of an engine too, but
        only where the other arm can be asked: most are the client's. Requests whose client left are counted apart.
        What the server itself refuses does not count. Effects of another variant's outage do not count either:
        fallbacks, and load that they add."""
        assert call.assignment is not None
        assert call.upstream is not None
        model, digest = call.assignment.model, call.upstream.manifest.digest
        judged = self.upstreams.snapshot.judged.get(model)
        if judged is None or call.assignment.reason not in ANSWERED_FOR:
            return
        if self.upstreams.drain.over:  # the server's end is no variant's failure
            return
        all_up, left = self.upstreams.all_up(model), call.status == CLIENT_WENT_AWAY
        took_s = time.perf_counter() - call.arrived if all_up else None
        refused = call.status == STATUS[Overloaded]
        turned_away = call.was_refused and not refused
        if not (left or turned_away or (refused and all_up) or not 400 <= call.status < 500):
            return
        result = Result(call.version, (call.key, call.client), not left and call.status != 200, took_s, left)
        other = self.other_arm(call, judged) if result.failed and not refused else None
        if self.second_opinion is not None and other is not None:
            self.second_opinion.on(call, other, self.observations.asks(model, digest, result, judged))
        elif not turned_away:
            self.observations.served(model, digest, result, judged)

    def other_arm(self, call: Call, judged: Judged) -> Upstream | None:
        """The variant that a rollout compares with the one that was asked; None where it is no longer served."""
        assert call.assignment is not None
        assert call.upstream is not None
        if judged.arms is None or judged.aa is not None:
            return None
        parent, variant = judged.arms
        wanted = parent if call.upstream.manifest.digest == variant else variant
        of_model = self.upstreams.by_model[call.assignment.model].values()
        return next((each for each in of_model if each.manifest.digest == wanted), None)

    def unplaced(self, call: Call) -> None:
        """Count a judged model's request that no variant could answer as a failure of the preferred variant."""
        model = call.target.model
        judged = self.upstreams.snapshot.judged.get(model)
        if judged is None or call.target.variant or call.assignment is not None:
            return  # not judged, not chosen by the router, or counted for its first assignment
        upstream, assignment = self.upstreams.preferred(call.target, call.client, call.needs)
        if assignment.reason != "pinned":
            version, took_s = self.upstreams.snapshot.traffic[model].version, time.perf_counter() - call.arrived
            result = Result(version, (call.key, call.client), True, took_s)
            self.observations.served(model, upstream.manifest.digest, result, judged)
