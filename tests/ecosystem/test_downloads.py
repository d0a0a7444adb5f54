"""From a download to training: img2dataset before a job, open_clip behind it."""

import functools
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from beam_curator.commands import curate_images, verify_output
from tests.ecosystem.conftest import OPEN_CLIP_TRAIN
from tests.ecosystem.downloads import picture
from tests.integration.integration_content import ledger

pytestmark = [pytest.mark.ecosystem, pytest.mark.slow]

DOWNLOADED = 40


class Quiet(SimpleHTTPRequestHandler):
    """Serves a directory, and logs nothing."""

    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path):
    """The urls of pictures on a web server on loopback: one is gone, one is no picture, some have odd names."""
    pages = tmp_path / "pages"
    pages.mkdir()
    names = [f"{number:02d} \u00e4.jpg" if number % 7 == 0 else f"{number:02d}.jpg" for number in range(DOWNLOADED)]
    for number, name in enumerate(names):
        (pages / name).write_bytes(picture(number))
    (pages / "page.jpg").write_text("<html>moved</html>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(pages)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    escaped = [name.replace(" ", "%20").replace("\u00e4", "%C3%A4") for name in [*names, "page.jpg", "gone.jpg"]]
    yield [f"http://127.0.0.1:{server.server_port}/{name}" for name in escaped]
    server.shutdown()


@pytest.mark.parametrize("form", ["webdataset", "parquet", "files"])
def test_what_img2dataset_downloads_is_curated_and_trained_on(run_with, site, tmp_path, form):
    urls, downloads, output = tmp_path / "urls.csv", tmp_path / "downloads", tmp_path / "out"
    lines = [f"{url},picture {number},{number:032x}" for number, url in enumerate(site)]
    urls.write_text("\n".join(["url,caption,uid", *lines]) + "\n")
    program = tmp_path / "downloading.py"  # a file: its processes import it
    program.write_text("""
import sys
from img2dataset import download
if __name__ == "__main__":
    download(url_list=sys.argv[1], input_format="csv", url_col="url", caption_col="caption", output_folder=sys.argv[2],
             output_format=sys.argv[3], processes_count=1, thread_count=4, resize_mode="no", skip_reencode=True,
             number_sample_per_shard=20, save_additional_columns=["uid"], retries=0, timeout=5, enable_wandb=False)
""")
    run_with(["img2dataset"], program, urls, downloads, form)
    flags = ["--clip_model", "tiny-untrained", "--min_aesthetic", "none", "--max_nsfw", "none"]
    flags += ["--input", str(downloads), "--output", str(output), "--samples_per_shard", "20"]
    assert curate_images.main(flags) == 0
    assert verify_output.main([str(output)]) == 0
    kept = [row for row in ledger(output) if row["status"] == "kept"]
    assert sorted((row["json_url"], row["caption"], int(row["json_uid"], 16)) for row in kept) == sorted(
        (url, f"picture {number}", number) for number, url in enumerate(site[:DOWNLOADED])
    )
    assert all(row["json_sha256"] == row["sha256"] for row in kept)
    if form == "webdataset":
        assert json.loads((output / "sizes.json").read_text()) == {"00000.tar": 20, "00001.tar": 20}
        program = """
import sys
from open_clip_train.main import main
main(["--train-data", sys.argv[1] + "/{00000..00001}.tar", "--dataset-type", "webdataset", "--epochs", "1",
      "--batch-size", "20", "--workers", "1", "--model", "ViT-S-32-alt", "--force-image-size", "64",
      "--logs", "logs", "--name", "downloaded"])
print(open("logs/downloaded/out.log").read())
"""
        assert "[40/40 (100%)]" in run_with(OPEN_CLIP_TRAIN, program, output)
