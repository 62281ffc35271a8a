"""conv2d by 1×1 kernels of stride 1: a matrix product of pixels and weights, as no pixel meets another.

The direct form works through rows of an image, and tiles of 14 pixels leave half of a row of 7 empty.
"""

from ..matmul import multiply


def fits(w, stride, padding, groups):
    return w.shape[:2] == (1, 1) and stride == (1, 1) and padding == (0, 0) and groups == 1


def forward(x, w, bias, relu, residual, y):
    multiply(_pixels(x), w[0], bias, _pixels(y), relu, None if residual is None else _pixels(residual))


def input_grad(start, gy, w, gx):
    multiply(_pixels(gy), w[0].transpose(0, 2, 1), start, _pixels(gx))


def _pixels(image):
    return image.reshape(1, -1, image.shape[3])
