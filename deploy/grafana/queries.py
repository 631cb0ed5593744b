"""PromQL that several dashboards use, over the variables `$model` and `$variant`."""

from deploy.grafana.panels import Line

MODEL = 'model="$model"'
CHOSEN = f'{MODEL},variant=~"$variant"'
FAILED = 'status=~"[45].."'
BUCKETS = "The value is estimated from histogram buckets that double in size. For exact figures use the load report."


def rate(metric: str, by: str, where: str = CHOSEN, over: str = "$__rate_interval") -> str:
    """Events a second, summed over all labels but those in `by`."""
    return f"sum by ({by}) (rate({metric}{{{where}}}[{over}]))"


def quantile(share: float, metric: str, legend: str = "{{variant}}") -> Line:
    return Line(quantile_of(share, metric), legend)


def quantile_of(share: float, metric: str, over: str = "$__rate_interval") -> str:
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', 'variant, le', over=over)})"


def share_right(right: str, all_of_them: str) -> str:
    """A share that is 0 instead of absent while its numerator has no series yet, and absent where nothing happened."""
    return f"({right} or 0 * {all_of_them}) / {some(all_of_them)}"


def some(events: str) -> str:
    """A denominator without zeros: what is divided by zero is shown as NaN."""
    return f"({events} > 0)"


def or_none(events: str, zero: str) -> str:
    """Events by status, with a line *none* at `zero`, so that a server without errors differs from one without data."""
    return f'{events} or label_replace({zero}, "status", "none", "", "")'
