"""Convert shards on Apache Beam: on this machine's processes, or on Flink, Spark or Dataflow.

The shards are those of the local runner, byte for byte: both call `shard_conversion.convert_shard`.
"""

import logging
from collections.abc import Iterator, Sequence

from pipelines.conversion import shard_conversion
from pipelines.conversion.conversion_plan import ShardTask


def run(tasks: Iterator[tuple[int, ShardTask]], runner: str, options: Sequence[str]) -> None:
    """Converts shards and waits for the end; their reports lie beside them.

    Args:
        tasks: Numbered tasks. Their videos and output must be reachable from every worker.
        runner: Name of a Beam runner, e.g. `"DirectRunner"` or `"FlinkRunner"`.
        options: Beam's own options, e.g. `["--direct_num_workers=2"]`.

    Raises:
        ValueError: Apache Beam is not installed, or the pipeline failed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ValueError(
            f"--runner={runner} needs Apache Beam: pip install 'keras_rms[beam]'. (cause: {error})"
        ) from error
    # Beam reports every start and stop of its workers otherwise.
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    quiet = "--default_sdk_harness_log_level=WARNING"
    pipeline_options = PipelineOptions([f"--runner={runner}", quiet, *options])
    try:
        with beam.Pipeline(options=pipeline_options) as pipeline:
            (
                pipeline
                | "Shards" >> beam.Create(list(tasks))
                # Without it runners fuse the steps, and one worker converts all shards.
                | "Spread" >> beam.Reshuffle()
                | "Convert" >> beam.Map(convert_numbered)
            )
    # Runners raise whatever their workers raised, or errors of their own.
    except Exception as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise ValueError(
            f"The conversion on {runner} failed: {cause} The shards "
            "that are finished stay; mend the cause and run the same command again."
        ) from error


def convert_numbered(task: tuple[int, ShardTask]) -> int:
    """Converts one shard on a worker; only its number travels back."""
    shard_conversion.convert_shard(task[1])
    return task[0]
