"""NeMo Curator's image pipeline on local shards. Runs in an environment of its own, started by `benchmarks.peers`.

python nemo_images.py convert CHECKPOINT MODEL_DIR     an open_clip checkpoint as its CLIP stage wants it
python nemo_images.py run SHARDS MODEL_DIR BATCH_SIZE  reads and embeds; nothing is written
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

MODEL_ID = "openai/clip-vit-large-patch14"
"""The one name that its CLIP stage looks for under its model directory, whatever the model is."""


_STREAMING_CORES = 4


def convert(checkpoint: Path, model_dir: Path) -> None:
    """Writes the image tower of an open_clip checkpoint (with QuickGELU) in the layout of transformers.

    The text tower, which nothing here uses, is a stub of one layer.
    """
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast

    weights = torch.load(checkpoint, weights_only=True)
    vision = _vision_config(weights)
    text = {"vocab_size": 4, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    text["num_attention_heads"] = 1
    dim = weights["visual.proj"].shape[1]
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=dim))
    lacking, unknown = model.load_state_dict(_vision_weights(weights, vision["num_hidden_layers"]), strict=False)
    not_loaded = [name for name in lacking if name.startswith(("vision_model", "visual_projection"))]
    if unknown or not_loaded:
        sys.exit(f"the checkpoint does not fit: unknown {unknown}, not loaded {not_loaded}")
    target = model_dir / MODEL_ID
    model.save_pretrained(target)
    with tempfile.TemporaryDirectory() as directory:
        vocabulary, merges = Path(directory, "vocab.json"), Path(directory, "merges.txt")
        vocabulary.write_text(json.dumps({"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2, "a</w>": 3}))
        merges.write_text("#version: 0.2\n")
        tokenizer = CLIPTokenizerFast(str(vocabulary), str(merges))
        CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(target)


def _vision_config(weights: dict[str, Any]) -> dict[str, Any]:
    """The tower's shape, as its weights tell it."""
    width, _, patch, _ = weights["visual.conv1.weight"].shape
    layers = len({name.split(".")[3] for name in weights if name.startswith("visual.transformer.resblocks.")})
    grid = round((weights["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    return {
        "hidden_size": width,
        "intermediate_size": weights["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "patch_size": patch,
        "image_size": grid * patch,
        "hidden_act": "quick_gelu",
    }


def _vision_weights(weights: dict[str, Any], layers: int) -> dict[str, Any]:
    """open_clip's tensors under the names of transformers."""
    renamed = {
        "vision_model.embeddings.patch_embedding.weight": weights["visual.conv1.weight"],
        "vision_model.embeddings.class_embedding": weights["visual.class_embedding"],
        "vision_model.embeddings.position_embedding.weight": weights["visual.positional_embedding"],
        "visual_projection.weight": weights["visual.proj"].T.contiguous(),
    }
    norms = {"visual.ln_pre": "vision_model.pre_layrnorm", "visual.ln_post": "vision_model.post_layernorm"}
    for layer in range(layers):
        ours, theirs = f"visual.transformer.resblocks.{layer}", f"vision_model.encoder.layers.{layer}"
        norms |= {
            f"{ours}.ln_1": f"{theirs}.layer_norm1",
            f"{ours}.ln_2": f"{theirs}.layer_norm2",
            f"{ours}.attn.out_proj": f"{theirs}.self_attn.out_proj",
            f"{ours}.mlp.c_fc": f"{theirs}.mlp.fc1",
            f"{ours}.mlp.c_proj": f"{theirs}.mlp.fc2",
        }
        for kind in ("weight", "bias"):
            parts = weights[f"{ours}.attn.in_proj_{kind}"].chunk(3)
            for name, part in zip("qkv", parts, strict=True):
                renamed[f"{theirs}.self_attn.{name}_proj.{kind}"] = part.clone()
    for ours, theirs in norms.items():
        for kind in ("weight", "bias"):
            renamed[f"{theirs}.{kind}"] = weights[f"{ours}.{kind}"]
    return renamed


def run(shards: str, model_dir: str, batch_size: int) -> None:
    """Reads and embeds all shards with its default executor, and prints how many images came out."""
    from nemo_curator.backends.xenna import XennaExecutor
    from nemo_curator.pipeline import Pipeline
    from nemo_curator.stages.file_partitioning import FilePartitioningStage
    from nemo_curator.stages.image.embedders.clip_embedder import ImageEmbeddingStage
    from nemo_curator.stages.image.io.image_reader import ImageReaderStage

    class CpuReader(ImageReaderStage):
        """The reader on a machine without a GPU, where DALI must be told that there is none."""

        def _create_dali_pipeline(self, tar_paths: list[str]) -> object:
            from nvidia import dali

            original = dali.pipeline_def
            dali.pipeline_def = lambda **settings: original(**{**settings, "device_id": None})
            try:
                return super()._create_dali_pipeline(tar_paths)
            finally:
                dali.pipeline_def = original

    pipeline = Pipeline(
        name="embed",
        stages=[
            FilePartitioningStage(file_paths=shards, files_per_partition=1, file_extensions=[".tar"]),
            CpuReader(dali_batch_size=batch_size, num_threads=os.cpu_count() or 1, verbose=False),
            ImageEmbeddingStage(model_dir=model_dir, model_inference_batch_size=batch_size, remove_image_data=True),
        ],
    )
    # Stages side by side need a core each and one to spare; with fewer it refuses, and runs them one after the other.
    mode = "streaming" if (os.cpu_count() or 1) >= _STREAMING_CORES else "batch"
    results = pipeline.run(XennaExecutor({"execution_mode": mode})) or []
    embedded = [image for task in results for image in task.data if image.embedding is not None]
    print(f"embedded {len(embedded)}")


if __name__ == "__main__":
    if sys.argv[1] == "convert":
        convert(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        run(sys.argv[2], sys.argv[3], int(sys.argv[4]))
