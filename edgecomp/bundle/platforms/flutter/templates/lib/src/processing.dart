// From a picture to what a model stores as its input, and from its output to an answer: edgecomp's processing, schema 1.

import 'dart:math';
import 'dart:typed_data';

import 'errors.dart';
import 'resampling.dart';

/// A picture as [width] x [height] RGBA bytes, row by row. Alpha is ignored.
class Picture {
  Picture(this.width, this.height, this.rgba);

  final int width, height;
  final Uint8List rgba;
}

final _rounded = Float32List(1);

/// To float32 and back, so that every step rounds as it does elsewhere.
double _single(num x) {
  _rounded[0] = x.toDouble();
  return _rounded[0];
}

/// Half to even, as IEEE 754 and numpy round; `round()` goes away from zero.
int _even(double x) {
  final below = x.floor();
  final rest = x - below;
  return rest < 0.5 || (rest == 0.5 && below.isEven) ? below : below + 1;
}

/// The steps from a picture to the input.
class Preprocessing {
  Preprocessing.fromJson(Map<String, dynamic> fields)
      : _resize = fields['resize'] as int?,
        _crop = fields['crop'] as int?,
        _scale = _single(fields['scale'] as num),
        _mean = _numbers(fields['mean']),
        _std = _numbers(fields['std']),
        _channels = fields['channels'] as String,
        _layout = fields['layout'] as String,
        _interpolation = fields['interpolation'] as String;

  /// More than any camera has; a picture beyond is refused before memory is asked for.
  static const maxPixels = 1 << 28;

  final int? _resize, _crop;
  final double _scale;
  final List<double> _mean, _std;
  final String _channels, _layout, _interpolation;

  static List<double> _numbers(Object? list) => [for (final number in list! as List) _single(number as num)];

  /// One picture as float32 with an axis of size 1 in front, in the source's layout.
  Tensor apply(Picture picture) {
    _check(picture);
    final shorter = _resize ?? _crop;
    var (width, height) = (picture.width, picture.height);
    if (shorter != null) {
      final factor = shorter / min(width, height);
      (width, height) = (max(shorter, _even(width * factor)), max(shorter, _even(height * factor)));
    }
    final side = _crop;
    final box = side == null
        ? Box(0, 0, width, height)
        : Box(((width - side) / 2).floor(), ((height - side) / 2).floor(), side, side);
    final pixels = _channels == 'gray' ? _gray(picture) : Pixels(picture.width, picture.height, 4, 3, picture.rgba);
    return _normalize(resample(pixels, width, height, box, _interpolation), box.width, box.height, pixels.channels);
  }

  void _check(Picture picture) {
    final count = picture.width * picture.height;
    if (picture.width < 1 || picture.height < 1 || count > maxPixels || picture.rgba.length != 4 * count) {
      final given = '${picture.width} x ${picture.height} in ${picture.rgba.length} bytes';
      throw BundleException(Problem.picture, 'expected a picture of 1 to $maxPixels pixels, got $given');
    }
  }

  /// ITU-R 601 luma in 16-bit fixed point, as Pillow computes it.
  Pixels _gray(Picture picture) {
    final (rgba, bytes) = (picture.rgba, Uint8List(picture.width * picture.height));
    for (var place = 0, from = 0; place < bytes.length; place++, from += 4) {
      bytes[place] = (rgba[from] * 19595 + rgba[from + 1] * 38470 + rgba[from + 2] * 7471 + 0x8000) >> 16;
    }
    return Pixels(picture.width, picture.height, 1, 1, bytes);
  }

  Tensor _normalize(Uint8List bytes, int width, int height, int depth) {
    final area = width * height;
    final planar = _layout == 'nchw';
    final result = Tensor.allocate('float32', planar ? [1, depth, height, width] : [1, height, width, depth]);
    final data = result.data as Float32List;
    for (var channel = 0; channel < depth; channel++) {
      final (mean, std) = (_mean[channel % _mean.length], _std[channel % _std.length]);
      // What each of the 256 bytes becomes.
      final table = Float32List.fromList([
        for (var byte = 0; byte < 256; byte++) _single(_single(byte / _scale) - mean) / std,
      ]);
      final from = _channels == 'bgr' ? depth - 1 - channel : channel;
      final (start, step) = planar ? (channel * area, 1) : (channel, depth);
      for (var pixel = 0; pixel < area; pixel++) {
        data[start + pixel * step] = table[bytes[pixel * depth + from]];
      }
    }
    return result;
  }
}

/// Numbers with a shape; [dtype] is numpy's name for their type.
class Tensor {
  Tensor(this.dtype, this.shape, this.data);

  /// Zeros.
  factory Tensor.allocate(String dtype, List<int> shape) {
    final make = _lists[dtype];
    if (make == null) throw BundleException(Problem.manifest, 'numbers of type $dtype are not supported here');
    return Tensor(dtype, shape, make(shape.fold(1, (product, size) => product * size)));
  }

  static final _lists = <String, List<num> Function(int)>{
    'float32': Float32List.new, 'float64': Float64List.new, 'int8': Int8List.new, 'uint8': Uint8List.new,
    'bool': Uint8List.new, 'int16': Int16List.new, 'int32': Int32List.new, 'int64': Int64List.new,
  };

  final String dtype;
  final List<int> shape;

  /// A list of `dart:typed_data`.
  final List<num> data;

  /// The memory of [data].
  Uint8List get bytes {
    final view = data as TypedData;
    return view.buffer.asUint8List(view.offsetInBytes, view.lengthInBytes);
  }

  void put(int place, num value) {
    if (data is List<double>) {
      data[place] = value.toDouble();
    } else {
      data[place] = value.toInt();
    }
  }

  /// Axis `i` of the result is axis `permutation[i]` of this.
  Tensor transposed(List<int> permutation) {
    final strides = List.filled(shape.length, 1);
    for (var axis = shape.length - 2; axis >= 0; axis--) {
      strides[axis] = strides[axis + 1] * shape[axis + 1];
    }
    final result = Tensor.allocate(dtype, [for (final axis in permutation) shape[axis]]);
    final at = List.filled(shape.length, 0);
    for (var place = 0, from = 0; place < data.length; place++) {
      result.data[place] = data[from];
      for (var axis = shape.length - 1; axis >= 0; axis--) {
        from += strides[permutation[axis]];
        if (++at[axis] < result.shape[axis]) break;
        from -= strides[permutation[axis]] * result.shape[axis];
        at[axis] = 0;
      }
    }
    return result;
  }
}

/// One input or output as a model stores it, and how that differs from the source.
class TensorDescription {
  TensorDescription.fromJson(Map<String, dynamic> fields)
      : name = fields['name'] as String,
        dtype = fields['dtype'] as String,
        shape = [for (final size in fields['shape'] as List) size as int?],
        permutation = (fields['permutation'] as List?)?.cast<int>(),
        _scale = fields['scale'] == null ? null : _single(fields['scale'] as num),
        _zeroPoint = fields['zero_point'] as int? ?? 0,
        _sourceDtype = fields['source_dtype'] as String;

  static const _limits = {'int8': (-128, 127), 'uint8': (0, 255), 'int16': (-32768, 32767)};

  final String name, dtype;

  /// As stored; null where any size goes.
  final List<int?> shape;
  final List<int>? permutation;
  final double? _scale;
  final int _zeroPoint;
  final String _sourceDtype;

  /// Where each of the source's axes lies in what is stored.
  List<int>? get _back {
    final order = permutation;
    return order == null ? null : [for (var axis = 0; axis < order.length; axis++) order.indexOf(axis)];
  }

  /// As the source takes or gives it.
  List<int?> get sourceShape => _back == null ? shape : [for (final axis in _back!) shape[axis]];

  /// A tensor of the source's dtype and layout as the model stores it.
  Tensor store(Tensor tensor) {
    final order = permutation;
    final moved = order == null ? tensor : tensor.transposed(order);
    final stored = Tensor.allocate(dtype, moved.shape);
    final scale = _scale;
    final (low, high) = _limits[dtype] ?? (0, 0);
    for (var place = 0; place < stored.data.length; place++) {
      final value = moved.data[place];
      stored.put(place, scale == null ? value : (_even(_single(value / scale)) + _zeroPoint).clamp(low, high));
    }
    return stored;
  }

  /// The other way round.
  Tensor load(Tensor stored) {
    final real = Tensor.allocate(_sourceDtype, stored.shape);
    final scale = _scale;
    for (var place = 0; place < real.data.length; place++) {
      final value = stored.data[place];
      real.put(place, scale == null ? value : (value - _zeroPoint) * scale);
    }
    final back = _back;
    return back == null ? real : real.transposed(back);
  }
}

/// One line of an answer: [score] is a probability.
class Ranked {
  Ranked(this.index, this.label, this.score);

  final int index;
  final String label;
  final double score;

  @override
  String toString() => '$label ${(100 * score).toStringAsFixed(1)} %';
}

/// The best classes, best first; of equals the lower index.
List<Ranked> rank(List<num> scores, {required bool softmax, List<String>? labels, int top = 5}) {
  final largest = scores.fold<double>(double.negativeInfinity, (found, score) => max(found, score.toDouble()));
  final powers = [for (final score in scores) softmax ? exp(score - largest) : score.toDouble()];
  final sum = softmax ? powers.fold<double>(0, (found, power) => found + power) : 1.0;
  final order = [for (var index = 0; index < powers.length; index++) index]..sort((a, b) {
      final better = powers[b].compareTo(powers[a]);
      return better != 0 ? better : a - b;
    });
  return [for (final index in order.take(top)) Ranked(index, labels?[index] ?? 'class $index', powers[index] / sum)];
}
