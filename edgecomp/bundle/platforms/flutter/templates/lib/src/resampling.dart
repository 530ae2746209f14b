// Pillow's resampling, to the bit: weights in float64, rounded to 22 bits, one pass over rows and one over columns.

import 'dart:math';
import 'dart:typed_data';

const _precision = 22;
const _half = 1 << (_precision - 1);

double _sinc(double x) => x == 0 ? 1 : sin(x * pi) / (x * pi);

double _bilinear(double x) => max(0, 1 - x.abs());

double _bicubic(double signed) {
  final x = signed.abs();
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

double _lanczos(double x) => x >= -3 && x < 3 ? _sinc(x) * _sinc(x / 3) : 0;

const _filters = <String, (double, double Function(double))>{
  'bilinear': (1.0, _bilinear),
  'bicubic': (2.0, _bicubic),
  'lanczos': (3.0, _lanczos),
};

/// Interleaved bytes: [stride] of them per pixel, of which the first [channels] count.
class Pixels {
  Pixels(this.width, this.height, this.stride, this.channels, this.bytes);

  final int width, height, stride, channels;
  final Uint8List bytes;
}

/// A part of a resized picture.
class Box {
  Box(this.left, this.top, this.width, this.height);

  final int left, top, width, height;
}

/// Where each output pixel's window begins, how long it is, and its weights, [size] places apart.
class _Windows {
  _Windows(int count, this.size)
      : starts = Int32List(count),
        lengths = Int32List(count),
        weights = Int32List(count * size);

  factory _Windows.between(int from, int to, int first, int count, String method) {
    final (support, weigh) = _filters[method]!;
    final scale = from / to;
    final stretch = max(scale, 1.0);
    final reach = support * stretch;
    final made = _Windows(count, reach.ceil() * 2 + 1);
    final exact = Float64List(made.size);
    for (var index = 0; index < count; index++) {
      final center = (first + index + 0.5) * scale;
      final start = max(0, (center - reach + 0.5).truncate());
      final length = min(from, (center + reach + 0.5).truncate()) - start;
      var sum = 0.0;
      for (var k = 0; k < length; k++) {
        exact[k] = weigh((k + start - center + 0.5) * (1 / stretch));
        sum += exact[k];
      }
      for (var k = 0; k < length; k++) {
        final weight = (sum == 0 ? exact[k] : exact[k] / sum) * (1 << _precision);
        made.weights[index * made.size + k] = (weight < 0 ? weight - 0.5 : weight + 0.5).truncate();
      }
      made.starts[index] = start;
      made.lengths[index] = length;
    }
    return made;
  }

  final int size;
  final Int32List starts, lengths, weights;
}

/// What lies in [box] after a picture is resized to [width] x [height]; nothing else of it is computed.
Uint8List resample(Pixels picture, int width, int height, Box box, String method) {
  final same = width == picture.width && height == picture.height;
  if (method == 'nearest' || same) return _pick(picture, width, height, box);
  final columns = _Windows.between(picture.width, width, box.left, box.width, method);
  final rows = _Windows.between(picture.height, height, box.top, box.height, method);
  return _alongColumns(_alongRows(picture, columns, rows), box.width * picture.channels, rows);
}

Uint8List _alongRows(Pixels picture, _Windows columns, _Windows rows) {
  final first = rows.starts.first;
  final count = rows.starts.last + rows.lengths.last - first;
  final out = Uint8List(count * columns.starts.length * picture.channels);
  final (bytes, stride, weights) = (picture.bytes, picture.stride, columns.weights);
  var place = 0;
  for (var row = first; row < first + count; row++) {
    final line = row * picture.width * stride;
    for (var index = 0; index < columns.starts.length; index++) {
      final begin = line + columns.starts[index] * stride;
      final end = index * columns.size + columns.lengths[index];
      for (var channel = 0; channel < picture.channels; channel++) {
        var sum = _half;
        var from = begin + channel;
        for (var k = index * columns.size; k < end; k++, from += stride) {
          sum += bytes[from] * weights[k];
        }
        out[place++] = (sum >> _precision).clamp(0, 255);
      }
    }
  }
  return out;
}

Uint8List _alongColumns(Uint8List bytes, int line, _Windows rows) {
  final out = Uint8List(rows.starts.length * line);
  final sums = Int64List(line);
  for (var row = 0; row < rows.starts.length; row++) {
    sums.fillRange(0, line, _half);
    for (var k = 0; k < rows.lengths[row]; k++) {
      final weight = rows.weights[row * rows.size + k];
      final begin = (rows.starts[row] - rows.starts.first + k) * line;
      for (var column = 0; column < line; column++) {
        sums[column] += bytes[begin + column] * weight;
      }
    }
    for (var column = 0; column < line; column++) {
      out[row * line + column] = (sums[column] >> _precision).clamp(0, 255);
    }
  }
  return out;
}

/// The nearest pixels; places are summed up step by step, as Pillow does.
Uint8List _pick(Pixels picture, int width, int height, Box box) {
  final columns = _places(picture.width, width).sublist(box.left, box.left + box.width);
  final rows = _places(picture.height, height).sublist(box.top, box.top + box.height);
  final out = Uint8List(box.width * box.height * picture.channels);
  var place = 0;
  for (final row in rows) {
    for (final column in columns) {
      final from = (row * picture.width + column) * picture.stride;
      for (var channel = 0; channel < picture.channels; channel++) {
        out[place++] = picture.bytes[from + channel];
      }
    }
  }
  return out;
}

Int32List _places(int from, int to) {
  final step = from / to;
  final found = Int32List(to);
  var at = step * 0.5;
  for (var index = 0; index < to; index++, at += step) {
    found[index] = min(at.truncate(), from - 1);
  }
  return found;
}
