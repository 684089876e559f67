"""Several hosts that are killed go on from the last step of which all have a checkpoint."""

import json
import re
import shutil
import signal

import pytest

from fm_core.artifact.model_file import load_model
from tests.cluster.test_training import assert_only_the_first_wrote, assert_same_model, one_host
from tests.contract.training import read_until, records


def with_checkpoints(job, folder=None):
    """Give each host a folder for checkpoints, or all of them the same."""
    for one in job.jobs:
        path = folder or one.root / "checkpoints"
        path.mkdir(exist_ok=True)
        (one.root / "input/config/checkpointconfig.json").write_text(json.dumps({"LocalPath": str(path)}))


def killed(job, text):
    """Run the hosts until the first one says something, then kill all."""
    with job.started() as processes:
        logs = [read_until(processes[0], text)]
        for process in processes:
            process.send_signal(signal.SIGKILL)
        for process in processes:
            process.wait()
    return logs


def steps_of(folder, host):
    return sorted(int(re.search(r"_(\d+)\.fm$", path.name)[1]) for path in folder.glob(f"checkpoint_{host}_*.fm"))


@pytest.mark.parametrize("changes", [{}, {"shuffle": "true", "shuffle_buffer_size": "60", "_optimizer": "ftrl"}])
def test_killed_hosts_go_on_to_the_same_bytes(hosts, changes):
    changes = {"factors_lr": "0.01", "epochs": "40", "checkpoint_interval_s": "0", "mini_batch_size": "20"} | changes
    whole = hosts(2, **changes)
    whole.put("part", records(500))
    assert_only_the_first_wrote(expected := whole.run())
    job = hosts(2, **changes)
    job.put("part", records(500))
    with_checkpoints(job)
    killed(job, "epoch=12, train")
    finished = job.run()
    assert_only_the_first_wrote(finished)
    for host in finished:
        assert "Resuming from checkpoint" in host.log
    starts = {re.search(r"Resuming from checkpoint .*: (epoch .*)", host.log)[1] for host in finished}
    assert len(starts) == 1
    assert finished[0].model == expected[0].model
    last = re.findall(r"#quality_metric: host=127\.0\.0\.1, epoch=39, train .*", finished[0].log)
    assert last == re.findall(r"#quality_metric: host=127\.0\.0\.1, epoch=39, train .*", expected[0].log)


def test_a_checkpoint_that_one_host_has_not_whole_is_not_used(hosts):
    job = hosts(2, epochs="40", checkpoint_interval_s="0", mini_batch_size="20", factors_lr="0.01")
    job.put("part", records(500))
    with_checkpoints(job)
    killed(job, "epoch=20, train")
    folders = [one.root / "checkpoints" for one in job.jobs]
    steps = [steps_of(folder, name) for folder, name in zip(folders, job.names, strict=True)]
    common = sorted(set(steps[0]) & set(steps[1]))
    assert common  # whenever they are killed, there is one that both have
    newest = folders[1] / f"checkpoint_{job.names[1]}_{common[-1]:012d}.fm"
    newest.write_bytes(newest.read_bytes()[:-1])
    if len(common) > 1:
        finished = job.run()
        assert_only_the_first_wrote(finished)
        assert f"_{common[-2]:012d}.fm: epoch" in finished[0].log
    else:
        for host in job.run():
            assert host.code == 1
            assert "that all 2 hosts have complete" in host.failure


def test_after_sigterm_the_last_step_is_a_checkpoint(hosts):
    job = hosts(3, epochs="1000000")
    job.put("part", records(500))
    with_checkpoints(job)
    with job.started() as processes:
        for process in processes:
            read_until(process, "epoch=3, train")
        processes[1].send_signal(signal.SIGTERM)
        stopped = job.ended(processes)
    assert_only_the_first_wrote(stopped)
    steps = [steps_of(one.root / "checkpoints", name)[-1] for one, name in zip(job.jobs, job.names, strict=True)]
    assert len(set(steps)) == 1
    done = int(re.search(r"(\d+) of 1000000 epochs are done", stopped[0].log)[1])
    for one in job.jobs:
        one.hyperparameters["epochs"] = str(done + 2)
        shutil.rmtree(one.root / "model")
        (one.root / "model").mkdir()
    assert_only_the_first_wrote(job.run())


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 1), (1, 2)])
def test_another_number_of_hosts_goes_on(hosts, tmp_path, before, after):
    """The checkpoint folder is the same for all hosts, as SageMaker restores it."""
    changes = {"factors_lr": "0.01", "rescale_grad": "0.02", "epochs": "1"}
    folder = tmp_path / "checkpoints"
    # Both together are one host that changes its mini batch after the first epoch.
    first = hosts(before, mini_batch_size=str(60 // before), **changes)
    first.put("part", records(540))
    with_checkpoints(first, folder)
    assert_only_the_first_wrote(first.run())
    second = hosts(after, mini_batch_size=str(60 // after), **(changes | {"epochs": "2"}))
    second.put("part", records(540))
    with_checkpoints(second, folder)
    finished = second.run()
    assert_only_the_first_wrote(finished)
    _, expected = one_host(tmp_path / "one", {"train": [records(540)]}, 60, **(changes | {"epochs": "2"}))
    assert_same_model(load_model(second.jobs[0].root / "model"), expected)
