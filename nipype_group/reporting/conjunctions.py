"""Conjunctions of contrasts: what sidecars and plans say of them."""

# What a conjunction is tested against.
CONJUNCTION_NULL = "At least one of the contrasts has no effect (conjunction null)"
# What its maps hold.
CONJUNCTION_MAPS = {
    "z": "z of the least significant contrast; 0 where two-sided contrasts disagree in sign",
    "p": "Largest of the uncorrected p of the contrasts; 1 where two-sided contrasts disagree in "
    "sign",
}
