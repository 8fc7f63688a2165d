"""Pre-trains an encoder, probes it and writes the workdir.

python -m contrastive_jax.main --config=configs/digits.py --workdir=runs/digits
"""

import time
from contextlib import ExitStack
from pathlib import Path

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from contrastive_jax.config import resolve, validate
from contrastive_jax.config.checks import check_removal
from contrastive_jax.data import sources
from contrastive_jax.data.constructions import construct
from contrastive_jax.evaluation.checks import check_data
from contrastive_jax.evaluation.monitor import make_monitor
from contrastive_jax.evaluation.result import make_result, print_table, probe_all
from contrastive_jax.runs.loggers import check_logger
from contrastive_jax.runs.names import CONFIG, LOGGERS, RESULT, TENSORBOARD
from contrastive_jax.runs.provenance import git_commit
from contrastive_jax.runs.start import check_apart, keep_start, kept_start, read_start
from contrastive_jax.runs.training_set import claim_workdir
from contrastive_jax.runs.weights import save_encoder
from contrastive_jax.runs.workdir import check_outside_data, check_workdir, finished, locked
from contrastive_jax.runtime import cli, distributed, preemption
from contrastive_jax.runtime.files import write_sealed_json
from contrastive_jax.training.hints import advice
from contrastive_jax.training.loop import pretrain
from contrastive_jax.training.optimizer import with_equal_updates
from contrastive_jax.training.task import task_of

_CONFIG_HELP = (
    'Config file; add :NAME for a variant. --config.FIELD=VALUE changes a field; '
    'python -m contrastive_jax.config lists them.'
)
config_flags.DEFINE_config_file('config', None, _CONFIG_HELP)
_WORKDIR = flags.DEFINE_string(
    'workdir', None, 'Folder that the run writes to and resumes from.', required=True
)
_INIT = flags.DEFINE_string(
    'init', None, 'Workdir or encoder.safetensors whose weights the encoder begins with.'
)
_SHARED = flags.DEFINE_string(
    'shared',
    None,
    'Folder in which runs share the probes of raw pixels and untrained encoders; grids give it.',
)
_LOG = flags.DEFINE_enum(
    'log', TENSORBOARD, LOGGERS, 'Where the curves are shown, beside metrics.jsonl.'
)
cli.define_processes()
flags.mark_flag_as_required('config')


def run(
    config: ConfigDict, workdir: Path, shared: Path | None = None, logger: str = TENSORBOARD
) -> dict:
    """Trains and probes, writes the workdir, and returns the content of `result.json`.

    It leaves a finished workdir as it is, and resumes an unfinished one of the same config.

    Args:
      config: the whole config.
      workdir: folder that the run writes to.
      shared: folder in which runs share the probes of the baselines, or None.
      logger: where the curves are shown, one of `runs.names.LOGGERS`.

    Raises:
      UserError: the config, the data, the workdir or the logger is wrong, which is found before
        anything is compiled or written; or a loss or gradient is not finite.
    """
    # Nothing is left to do for a finished run, so one of an earlier version need not pass.
    distributed.by_writer(lambda: None if (workdir / RESULT).exists() else validate(config))
    config, lines = resolve(config)
    for line in lines:
        print(line)
    distributed.check_same(config.to_json(sort_keys=True), 'config')
    distributed.by_writer(lambda: check_outside_data(workdir, '--workdir', config.data))
    if shared is not None:
        distributed.by_writer(lambda: check_outside_data(shared, '--shared', config.data))
    check_apart(workdir, config)
    with ExitStack() as stack:
        distributed.by_writer(lambda: stack.enter_context(locked(workdir)))
        distributed.by_writer(lambda: check_workdir(workdir, config))
        result = finished(workdir)
        if result is not None:
            return result
        if not (workdir / CONFIG).exists():
            check_removal(config.removal)
        distributed.by_writer(lambda: check_logger(logger))
        return _train_and_probe(config, workdir, shared, logger)


def _train_and_probe(config: ConfigDict, workdir: Path, shared: Path | None, logger: str) -> dict:
    start_time = time.perf_counter()
    git_commit()  # that of the code that trains, which the result will name
    task = task_of(config)

    def load():
        dataset = sources.load(config.data)
        return dataset, construct(config, dataset.pretrain)

    # The files of one machine may differ from those of another.
    dataset, construction = distributed.by_all(load)
    check_data(config, task, dataset, construction)
    start = read_start(config, workdir, construction, held_out=dataset.held_out)
    distributed.by_writer(
        lambda: claim_workdir(workdir, config, construction, held_out=dataset.held_out)
    )
    if start is not None:
        distributed.by_writer(lambda: keep_start(workdir, start))
        print(start.line)
    for line in advice(config, dataset, construction.split) if distributed.is_writer() else ():
        logging.warning('%s', line)
    for line in task.announcement:
        print(line)
    if construction.left_out:
        reasons = {'config.mixed.drop': config.mixed.drop, 'config.removal': config.removal.ratio}
        print(
            f'{construction.left_out} of {construction.available} images are left out, by '
            f'{" and ".join(name for name, given in reasons.items() if given)}'
        )
    with preemption.noting() as should_stop:
        # Only now is it known how many images there were before some were left out.
        training = with_equal_updates(config, construction.available)
        monitor = make_monitor(training, dataset, construction, workdir)
        begin = start and start.begin
        pretrained = pretrain(
            training, construction.split, workdir, should_stop, monitor, begin, logger
        )
    final = pretrained.final
    # Before the probes, because the encoder is worth more than what might end them.
    distributed.by_writer(
        lambda: save_encoder(workdir, config, final.params, final.stats, int(final.step))
    )
    accuracies = probe_all(config, dataset, pretrained, shared)
    result = make_result(config, task, dataset, construction, pretrained, accuracies, start_time)
    result |= kept_start(workdir)
    distributed.by_writer(lambda: write_sealed_json(workdir / RESULT, result))
    print_table(accuracies, result, task.summary(result), workdir / RESULT)
    return result


def _main() -> None:
    with cli.processes():
        config, notes = cli.resolved_flags()
        for line in notes:
            print(line)
        if _INIT.value:
            config.init = _INIT.value
        shared = Path(_SHARED.value) if _SHARED.value else None
        run(config, Path(_WORKDIR.value), shared, _LOG.value)


if __name__ == '__main__':
    cli.run(_main)
