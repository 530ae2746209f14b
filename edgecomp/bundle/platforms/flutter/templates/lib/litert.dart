/// Runs `.tflite` files with the plugin tflite_flutter.
library;

import 'dart:typed_data';

import 'package:tflite_flutter/tflite_flutter.dart' as lite;

import 'src/bundle.dart';
import 'src/processing.dart';

/// LiteRT, on so many threads.
class LiteRt implements Runtime {
  LiteRt({this.threads = 2});

  final int threads;

  @override
  String get format => 'tflite';

  @override
  Future<Session> load(Uint8List model, ModelDescription description) async {
    final options = lite.InterpreterOptions()..threads = threads;
    final interpreter = lite.Interpreter.fromBuffer(model, options: options);
    return _LiteRtSession(interpreter, description);
  }
}

class _LiteRtSession implements Session {
  _LiteRtSession(this._interpreter, this._description);

  final lite.Interpreter _interpreter;
  final ModelDescription _description;

  @override
  Future<List<Tensor>> run(List<Tensor> inputs) async {
    for (final (index, tensor) in inputs.indexed) {
      _interpreter.resizeInputTensor(index, tensor.shape);
    }
    _interpreter.allocateTensors();
    for (final (index, tensor) in inputs.indexed) {
      _interpreter.getInputTensor(index).data = tensor.bytes;
    }
    _interpreter.invoke();
    return [
      for (final (index, output) in _description.outputs.indexed) _read(_interpreter.getOutputTensor(index), output),
    ];
  }

  /// A copy: the interpreter's own memory changes with the next run.
  Tensor _read(lite.Tensor tensor, TensorDescription output) {
    final result = Tensor.allocate(output.dtype, tensor.shape);
    result.bytes.setAll(0, tensor.data);
    return result;
  }

  @override
  void close() => _interpreter.close();
}
