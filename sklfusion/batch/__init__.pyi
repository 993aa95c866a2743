from sklfusion.batch._engines import score_dask as score_dask
from sklfusion.batch._engines import score_ray as score_ray
from sklfusion.batch._engines import score_spark as score_spark
from sklfusion.batch._scorer import BatchScorer as BatchScorer
from sklfusion.batch._shards import score_shards as score_shards
from sklfusion.batch._sources import read_batches as read_batches
from sklfusion.batch._stream import stream as stream
