"""Networks with dynamic dimensions, as ONNX text with their constants."""

import numpy as np
import onnx

_random = np.random.default_rng(0)


def weights(**shapes):
    return [
        onnx.numpy_helper.from_array(_random.normal(0, 0.3, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]


def integers(**values):
    return [onnx.numpy_helper.from_array(np.array(value, np.int64), name) for name, value in values.items()]


def classifier():
    """Convolutions, a pool, and a flattened image."""
    text = """
        net (float[n, 3, 16, 16] x) => (float[n, 5] y) {
            a = Conv<pads=[1, 1, 1, 1], strides=[2, 2]>(x, w1, b1)
            b = Relu(a)
            c = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(b)
            s = Shape(c)
            k = Gather<axis=0>(s, zero)
            u = Unsqueeze(k, axes)
            v = Concat<axis=0>(u, rest)
            d = Reshape(c, v)
            y = Gemm<transB=1>(d, w2, b2)
        }
    """
    return text, [*weights(w1=(8, 3, 3, 3), b1=(8,), w2=(5, 128), b2=(5,)), *integers(zero=0, axes=[0], rest=[-1])]


def pyramid():
    """A network on images of any size: downwards, upwards to the size of another tensor, and a skip connection."""
    text = """
        net (float[n, 3, h, w] x) => (float[n, 4, hh, ww] y) {
            a = Conv<pads=[1, 1, 1, 1]>(x, w1, b1)
            b = Conv<pads=[1, 1, 1, 1], strides=[2, 2]>(a, w2, b1)
            s = Shape<start=2, end=4>(a)
            t = Shape<start=0, end=2>(b)
            z = Concat<axis=0>(t, s)
            c = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(b, , , z)
            y = Add(a, c)
        }
    """
    return text, weights(w1=(4, 3, 3, 3), b1=(4,), w2=(4, 4, 3, 3))


def attention():
    """Self-attention over a sequence, with positions from a table, as exporters write it."""
    text = """
        net (float[n, t, 12] x) => (float[n, t, 12] y) {
            s = Shape(x)
            n0 = Gather<axis=0>(s, zero)
            t0 = Gather<axis=0>(s, one)
            nu = Unsqueeze(n0, axes)
            tu = Unsqueeze(t0, axes)
            p = Slice(table, begin, tu, axes)
            e = Add(x, p)
            heads = Concat<axis=0>(nu, tu, split)
            whole = Concat<axis=0>(nu, tu, joined)
            q0 = MatMul(e, wq)
            q1 = Reshape(q0, heads)
            q = Transpose<perm=[0, 2, 1, 3]>(q1)
            k0 = MatMul(e, wk)
            k1 = Reshape(k0, heads)
            k = Transpose<perm=[0, 2, 3, 1]>(k1)
            a = MatMul(q, k)
            r = Range(zero, t0, one)
            f = Cast<to=1>(r)
            m = Add(a, f)
            g = Softmax<axis=-1>(m)
            o = MatMul(g, q)
            o1 = Transpose<perm=[0, 2, 1, 3]>(o)
            o2 = Reshape(o1, whole)
            y = Add(o2, e)
        }
    """
    numbers = integers(zero=0, one=1, axes=[0], begin=[0], split=[3, 4], joined=[12])
    return text, [*weights(table=(128, 12), wq=(12, 12), wk=(12, 12)), *numbers]


def recurrent():
    """Two steps of a recurrent layer that begins with as many zeros as the batch is large."""
    text = """
        net (float[n, 12] x) => (float[n, 12] y) {
            s = Shape<start=0, end=1>(x)
            z = Concat<axis=0>(s, width)
            h = ConstantOfShape(z)
            u = Gemm<transB=1>(h, wh, bh)
            v = Gemm<transB=1>(x, wx)
            a = Add(u, v)
            g = Sigmoid(a)
            u2 = Gemm<transB=1>(g, wh, bh)
            y = Add(u2, v)
        }
    """
    return text, [*weights(wh=(12, 12), wx=(12, 12), bh=(12,)), *integers(width=[12])]


def embeddings():
    """The embeddings of a BERT: places cut off a table by a computed size, and kinds looked up at them."""
    text = """
        net (float[n, t, 12] x) => (float[n, t, 12] y) {
            n0 = Shape<start=0, end=1>(x)
            t0 = Shape<start=1, end=2>(x)
            places = Slice(ids, begin, t0, one)
            row = GatherElements<axis=1>(kinds, places)
            both = Concat<axis=0>(n0, t0)
            chosen = Expand(row, both)
            k = Gather<axis=0>(table_of_kinds, chosen)
            p = Gather<axis=0>(table, places)
            a = Add(x, k)
            b = Add(a, p)
            y = MatMul(b, w)
        }
    """
    numbers = integers(begin=[0], one=[1], ids=[list(range(128))], kinds=[[place % 2 for place in range(128)]])
    return text, [*weights(table=(128, 12), table_of_kinds=(2, 12), w=(12, 12)), *numbers]


def distances():
    """What encoders with relative places do: logarithms of distances, of 0 too, and scores whose sizes all change."""
    text = """
        net (float[n, t, 12] x) => (float[n, t, t] y) {
            t0 = Shape<start=1, end=2>(x)
            size = Squeeze(t0, axes)
            places = Range(zero, size, one)
            far = Cast<to=1>(places)
            logarithm = Log(far)
            scaled = Mul(logarithm, third)
            near = Less(places, three)
            bias = Where(near, far, scaled)
            q = MatMul(x, w)
            k = Transpose<perm=[0, 2, 1]>(x)
            scores = MatMul(q, k)
            less = Mul(scores, third)
            y = Add(less, bias)
        }
    """
    floats = onnx.numpy_helper.from_array(np.array(1 / 3, np.float32), "third")
    return text, [*weights(w=(12, 12)), floats, *integers(zero=0, one=1, three=3, axes=[0])]


def cache():
    """What is added to scores of keys from before and of now is made before there is a tensor of that size."""
    text = """net (float[1, t, 12] x, float[1, p, 12] past) => (float[1, t, a] y, float[1, a, 12] present) {
        t0 = Shape<start=1, end=2>(x)  p0 = Shape<start=1, end=2>(past)  all0 = Add(t0, p0)
        row = Concat<axis=0>(t0, all0)  bias = Expand(third, row)
        k = MatMul(x, w)  present = Concat<axis=1>(past, k)  turned = Transpose<perm=[0, 2, 1]>(present)
        scores = MatMul(x, turned)  y = Add(scores, bias)
    }"""
    return text, weights(w=(12, 12), third=(1,))


def elements():
    """An element of each row, chosen by what comes in."""
    text = """
        net (float[n, t, 12] x) => (float[n, t, 3] y) {
            values, places = TopK<axis=2>(x, three)
            back = Neg(places)
            y = GatherElements<axis=2>(x, back)
        }
    """
    return text, integers(three=[3])


def sequences():
    """An LSTM and a GRU over sequences of any length."""
    text = """
        net (float[t, n, 6] x) => (float[t, n, 4] y) {
            a = LSTM<hidden_size=5>(x, w1, r1, b1)
            b = Squeeze(a, axes)
            c = GRU<hidden_size=4, linear_before_reset=1>(b, w2, r2, b2)
            y = Squeeze(c, axes)
        }
    """
    lstm = weights(w1=(1, 20, 6), r1=(1, 20, 5), b1=(1, 40))
    return text, [*lstm, *weights(w2=(1, 12, 5), r2=(1, 12, 4), b2=(1, 24)), *integers(axes=[1])]


def strides():
    """Windows that step over images, with padding that is read at some sizes only, and a step back up."""
    text = """
        net (float[n, 3, h, w] x) => (float[n, 4, a, b] y, float[n, 4, c, d] z) {
            p = Conv<pads=[1, 1, 1, 1], strides=[2, 2]>(x, w1, b1)
            q = MaxPool<kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]>(p)
            y = Conv<pads=[2, 2, 2, 2], strides=[2, 2], group=4>(q, w2)
            t = ConvTranspose<pads=[1, 1, 1, 1], strides=[2, 2]>(p, w3)
            z = MaxPool<kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1>(t)
        }
    """
    return text, weights(w1=(4, 3, 3, 3), b1=(4,), w2=(4, 1, 5, 5), w3=(4, 4, 3, 3))


def normalized():
    """What is normalized over whole images: per channel, and per group of channels as torch.onnx writes it."""
    text = """
        net (float[n, 4, h, w] x) => (float[n, 4, h, w] y) {
            a = Sub(x, half)
            b = InstanceNormalization(a, scale, bias)
            s = Shape(b)
            g = Reshape(b, groups)
            i = InstanceNormalization(g, ones, zeros)
            c = Reshape(i, s)
            y = Mul(c, b)
        }
    """
    floats = {"half": [0.5], "scale": [1, -2, 1, 1.5], "bias": [0, 0, 0.1, 0], "ones": [1, 1], "zeros": [0, 0]}
    constants = [onnx.numpy_helper.from_array(np.array(each, np.float32), name) for name, each in floats.items()]
    return text, [*constants, *integers(groups=[0, 2, -1])]


def lengths():
    """An LSTM over sequences that end before the longest does."""
    text = """
        net (float[t, n, 6] x, int32[n] ends) => (float[t, n, 4] y) {
            a = LSTM<hidden_size=4>(x, w1, r1, b1, ends)
            y = Squeeze(a, axes)
        }
    """
    return text, [*weights(w1=(1, 16, 6), r1=(1, 16, 4), b1=(1, 32)), *integers(axes=[1])]


def halved():
    """Half of an image, by a scale: TFLite's coordinates are those of ONNX at even sizes only."""
    text = """
        net (float[n, 3, h, w] x) => (float[n, 3, a, b] y) {
            c = Conv<pads=[1, 1, 1, 1]>(x, w1)
            y = Resize<mode="linear", coordinate_transformation_mode="half_pixel">(c, , scales)
        }
    """
    scales = onnx.numpy_helper.from_array(np.array([1, 1, 0.5, 0.5], np.float32), "scales")
    return text, [*weights(w1=(3, 3, 3, 3)), scales]


def states():
    """An LSTM that begins with a state."""
    text = """
        net (float[t, n, 6] x, float[1, n, 4] h, float[1, n, 4] c) => (float[t, n, 4] y) {
            a = LSTM<hidden_size=4>(x, w1, r1, b1, , h, c)
            y = Squeeze(a, axes)
        }
    """
    return text, [*weights(w1=(1, 16, 6), r1=(1, 16, 4), b1=(1, 32)), *integers(axes=[1])]


def windows():
    """Two windows at length 20, one at all shorter ones; with three the source itself fails."""
    text = """
        net (float[1, 1, t] x) => (float[1, 3, 2] y) {
            a = Conv<strides=[16]>(x, w1)
            b = Add(a, w2)
            y = Relu(b)
        }
    """
    return text, weights(w1=(3, 1, 4), w2=(1, 3, 2))


MODELS = {
    "normalized": (normalized, ("x=?x4x?:32x?:48",)),
    "strides": (strides, ("x=?x3x?:32x?:48",)),
    "distances": (distances, ("x=?x?:16x12",)),
    "elements": (elements, ("x=?x?:16x12",)),
    "cache": (cache, ("x=1xt:4x12", "past=1xp:16x12")),
    "embeddings": (embeddings, ("x=?x?:16x12",)),
    "recurrent": (recurrent, ()),
    "classifier": (classifier, ()),
    "pyramid": (pyramid, ("x=?x3x?:32x?:48",)),
    "attention": (attention, ("x=?x?:16x12",)),
    "sequences": (sequences, ("x=?:16x?:2x6",)),
}


def save(make, path):
    text, initializers = make()
    model = onnx.ModelProto()
    model.ir_version = 8
    model.opset_import.add(domain="", version=18)
    model.graph.CopyFrom(onnx.parser.parse_graph(text))
    model.graph.initializer.extend(initializers)
    onnx.save(model, path)
