from fm_core.kernels.interface import Kernels

_build: Kernels
train_sparse = _build.train_sparse
train_ranked = _build.train_ranked
predict_sparse = _build.predict_sparse
train_dense = _build.train_dense
predict_dense = _build.predict_dense
score_rows = _build.score_rows
gradients = _build.gradients
update = _build.update
score_parts = _build.score_parts
add_parts = _build.add_parts
learn_parts = _build.learn_parts
