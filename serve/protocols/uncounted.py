"""Why an opinion on a pair of answers does not count, as `/v1/feedback` says it: a code for links, and a sentence."""

UNCOUNTED = {
    "first": "another opinion on this pair came first",
    "decided": "a trusted label decided this pair, or its client brought more than its share of the pairs",
    "over": "the evidence that this pair belongs to is over, or began anew",
    "neither": "neither answer is right by this label",
    "full": "too many opinions wait for the controller",
}
CODES = {why: code for code, why in UNCOUNTED.items()}
