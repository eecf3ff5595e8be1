"""What it takes to start one way of embedding photos with a model, and then for a photo.

python -m benchmarks.towers MODEL torch|exported

Two numbers: processor seconds until the first vector, and for each of the next photos. A part of
`cold_query`.
"""

import sys
import time

import numpy as np

from clipsearch.models.loaded import LoadedModels
from clipsearch.models.names import resolve_model
from clipsearch.settings import cache_folder

PHOTOS = 64


def main(model: str, way: str) -> None:
    folder = cache_folder()
    assert folder is not None
    models = LoadedModels(folder / "none", "auto")
    identity = models.load(resolve_model(model)).identity
    encoder = (
        models.whole_encoder_of(identity) if way == "torch" else models.encoder_for(identity, 1)
    )
    size = (encoder.preprocessing.height, encoder.preprocessing.width, 3)
    photos = np.random.default_rng(0).integers(0, 256, (PHOTOS, *size), dtype=np.uint8)
    encoder.encode_pixels(photos[:32])
    started = time.process_time()
    encoder.encode_pixels(photos)
    taken = time.process_time() - started
    print(started - 32 * taken / PHOTOS, taken / PHOTOS)


if __name__ == "__main__":
    main(*sys.argv[1:])
