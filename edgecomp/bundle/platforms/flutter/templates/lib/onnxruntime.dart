/// Runs `.onnx` files with the plugin onnxruntime.
library;

import 'dart:typed_data';

import 'package:onnxruntime/onnxruntime.dart';

import 'src/bundle.dart';
import 'src/processing.dart';

/// ONNX Runtime, on so many threads.
class OnnxRuntime implements Runtime {
  OnnxRuntime({this.threads = 2}) {
    OrtEnv.instance.init();
  }

  final int threads;

  @override
  String get format => 'onnxruntime';

  @override
  Future<Session> load(Uint8List model, ModelDescription description) async {
    final options = OrtSessionOptions()..setIntraOpNumThreads(threads);
    return _OnnxSession(OrtSession.fromBuffer(model, options), description);
  }
}

class _OnnxSession implements Session {
  _OnnxSession(this._session, this._description);

  final OrtSession _session;
  final ModelDescription _description;

  @override
  Future<List<Tensor>> run(List<Tensor> inputs) async {
    final fed = <String, OrtValue>{
      for (final (index, tensor) in inputs.indexed)
        _description.inputs[index].name: OrtValueTensor.createTensorWithDataList(tensor.data, tensor.shape),
    };
    final options = OrtRunOptions();
    final results = _session.run(options, fed, [for (final output in _description.outputs) output.name]);
    final found = [
      for (final (index, output) in _description.outputs.indexed) _flat(results[index]!.value, output.dtype),
    ];
    for (final value in [...fed.values, ...results]) {
      value?.release();
    }
    options.release();
    return found;
  }

  /// The plugin gives lists of lists of numbers.
  Tensor _flat(Object? value, String dtype) {
    final shape = <int>[];
    for (var level = value; level is List; level = level.isEmpty ? null : level.first) {
      shape.add(level.length);
    }
    final result = Tensor.allocate(dtype, shape);
    var place = 0;
    void fill(Object? level) {
      if (level is List) {
        level.forEach(fill);
      } else {
        result.put(place++, level is bool ? (level ? 1 : 0) : level! as num);
      }
    }

    fill(value);
    return result;
  }

  @override
  void close() => _session.release();
}
