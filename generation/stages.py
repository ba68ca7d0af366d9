"""The stages of a run by name, in order. How they depend on each other is said by `pipeline.graph`, which no stage imports."""

STAGES = {
    "prompts": "Write the prompt table.",
    "generate": "Make pictures from prompts.",
    "filter": "Measure pictures and keep or drop them.",
    "recrop": "Cut kept pictures to the person.",
    "caption": "Write captions, drop unusable ones.",
    "annotate": "Read 27 attributes from captions.",
    "shard": "Write shards, index and manifest.",
}
UNIT_STAGES = tuple(STAGES)[1:-1]  # the first and the last one are single pieces of work over the whole run
