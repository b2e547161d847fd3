"""A home in an object store: tables and states lie there, and all that works on a local home works on it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from vid_assets.assets.train.manifest import training_set_spec
from vid_assets.config.file import home as home_of_environment
from vid_assets.home import prune, removal
from vid_assets.project import Project
from vid_assets.section import ConfigError
from vid_assets.store.place import files_at, local_folder
from vid_assets.store.state import AssetState, Fingerprint, StateFolder
from vid_assets_tests.harness import Home, work_of

BUCKET = "vid-assets-tests"


class RemoteHome(Home):
    """A home whose data lies in the bucket."""

    @property
    def project(self) -> Project:
        return Project(super().project.config, f"s3://{BUCKET}/{self.folder.name}/home")


@pytest.fixture(scope="module", autouse=True)
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server in this process that speaks S3, named by the environment as a user would name one."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "VID_ASSETS_LOCAL": str(tmp_path_factory.mktemp("local")),
        }.items():
            environment.setenv(name, value)
        import boto3

        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield
    server.stop()


def test_the_environment_names_a_bucket_and_a_prefix(monkeypatch):
    monkeypatch.setenv("VID_ASSETS_HOME", f"s3://{BUCKET}/some/home/")
    assert home_of_environment() == f"s3://{BUCKET}/some/home"
    for refused in (f"s3://{BUCKET}", "s3:///home", "gs://bucket/home", "http://host/home"):
        monkeypatch.setenv("VID_ASSETS_HOME", refused)
        with pytest.raises(ConfigError, match="must be a folder, or s3://bucket/prefix"):
            home_of_environment()


def test_states_are_objects_and_their_locks_are_local():
    home = f"s3://{BUCKET}/states"
    states = StateFolder(home)
    assert states.read("clips", "b1") is None and states.finished() == []
    states.write(AssetState("clips", "b1", Fingerprint("1"), "v1", "d1"))
    states.write(AssetState("training_set/short", None, Fingerprint("1"), "v2", "d2"))
    assert StateFolder(home).read("clips", "b1").data_version == "v1"
    assert StateFolder(home).finished() == [("clips", "b1"), ("training_set/short", None)]
    with states.lock("clips", "b1"):
        assert list(local_folder(home).rglob("b1.lock"))
    states.remove("clips", "b1")
    states.remove("clips", "b1")
    assert states.read("clips", "b1") is None
    assert set(files_at(home).sizes()) == {"state/training_set/short/_all.json"}


def test_from_footage_to_a_training_set_and_a_removal(tmp_path: Path, models: Path, put):
    made = RemoteHome(tmp_path, models)
    put(made, "one.mp4", caption="a red shape")
    put(made, "still.png")
    made.run()
    made.materialize(["training_set/short"])
    assert made.materialize(["latents"], "b00001") == {"latents[b00001]": 0}, "a hit"
    assert any(name.startswith("lancedb/latents.lance/data/") for name in files_at(made.project.home).sizes())
    assert not (made.project.local / "lancedb").exists()

    from model.data.training_set import TrainingSet
    from model.manifest import TrainingSetSpec

    spec = training_set_spec(work_of(made.project, "checkpoint/short", "one"))
    data = TrainingSet(TrainingSetSpec(**spec), 16)
    sample = next(one for one in data.samples.values() if one.kind == "video")
    stored = {row["sample_id"]: blob for row, blob in made.project.store.read_blobs("latents", "true", "latent")}
    assert data.read([sample.sample_id]).latents[0].numpy().tobytes() == stored[sample.sample_id]

    video = removal.removal_of(made.project, "one.mp4")
    removal.remove(made.project, video, progress=lambda text: None)
    files = files_at(f"{made.project.home}/lancedb")
    for name in files.sizes():
        assert stored[sample.sample_id] not in files.read(name)
    assert made.project.store.count("latents") == len(stored) - len(video.sample_ids) > 0
    assert [one.kind for one in prune.find(made.project) if one.kind != "files"] == []
    made.instance.dispose()
