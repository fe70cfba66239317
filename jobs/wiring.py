"""Put the settings and the parts together: what the stages of each modality run on."""

from __future__ import annotations

from jobs.run_stages import IN_PROCESS, Context, Limits, empty_pipeline
from jobs.settings import Settings
from lake_layout.lake import Lake
from lake_layout.sorted_runs import IndexLocation
from pipelines.modalities import MODALITIES


def contexts(settings: Settings, *, accept_loss: bool = False) -> list[Context]:
    """One context per modality.

    Raises:
        ConfigError: a setting of the stages is wrong.
    """
    options = tuple(settings.ingest.runner_options) or IN_PROCESS
    empty_pipeline(options)  # so that a wrong one is told before there is anything to run
    return [
        Context(
            lake=Lake(settings.lake_location()),
            connection=settings.kafka_connection(),
            modality=modality,
            sources=settings.sources(),
            index=IndexLocation(str(settings.index_dir)),
            limits=Limits(messages=settings.ingest.batch_messages, curated_rows=settings.curate.rows),
            options=options,
            accept_loss=accept_loss,
            topic_prefix=settings.kafka.topic_prefix,
            processes=settings.ingest_processes,
        )
        for modality in MODALITIES
    ]
