// Opens a bundle: signature, release and hashes first, then the first model that a runtime takes.

import 'dart:convert';
import 'dart:math';
import 'dart:typed_data';

import 'package:cryptography/cryptography.dart';

import 'errors.dart';
import 'processing.dart';

export 'errors.dart';

const _schema = 1;

/// One model of the bundle.
class ModelDescription {
  ModelDescription.fromJson(Map<String, dynamic> fields)
      : format = fields['format'] as String,
        file = fields['file'] as String,
        inputs = _tensors(fields['inputs']),
        outputs = _tensors(fields['outputs']);

  final String format, file;
  final List<TensorDescription> inputs, outputs;

  static List<TensorDescription> _tensors(Object? list) =>
      [for (final each in list! as List) TensorDescription.fromJson(each as Map<String, dynamic>)];
}

/// A model that a runtime has loaded: takes and gives tensors as the model stores them, in its order.
abstract interface class Session {
  Future<List<Tensor>> run(List<Tensor> inputs);
  void close();
}

/// What can load models of one format.
abstract interface class Runtime {
  String get format;
  Future<Session> load(Uint8List model, ModelDescription description);
}

/// Remembers the highest release that was opened, so that an older bundle cannot take its place.
abstract interface class Releases {
  int read(String name);
  Future<void> write(String name, int release);
}

/// What the self-test found of one model: at most 1 of [difference] is well.
class Check {
  Check(this.file, this.sameInputs, this.difference);

  final String file;
  final bool sameInputs;
  final double difference;

  bool get passed => sameInputs && difference <= 1;

  @override
  String toString() => '$file: sameInputs=$sameInputs difference=$difference';
}

class _Manifest {
  _Manifest(Map<String, dynamic> fields)
      : name = fields['name'] as String,
        release = fields['release'] as int,
        models = [
          for (final each in fields['models'] as List) ModelDescription.fromJson(each as Map<String, dynamic>),
        ],
        processing = fields['processing'] as Map<String, dynamic>,
        golden = fields['golden'] as String,
        assets = fields['assets'] as Map<String, dynamic>,
        schema = fields['schema'] as int;

  factory _Manifest.parse(Uint8List bytes) {
    try {
      final found = _Manifest(jsonDecode(utf8.decode(bytes)) as Map<String, dynamic>);
      if (found.models.isNotEmpty && max(found.schema, found.processing['schema'] as int) <= _schema) return found;
    } on FormatException {
      // Said below.
    } on TypeError {
      // Likewise.
    }
    throw BundleException(Problem.manifest, 'bundle.json is damaged, or of a newer schema than $_schema');
  }

  final String name, golden;
  final int schema, release;
  final List<ModelDescription> models;
  final Map<String, dynamic> processing, assets;

  String? get labels => processing['labels'] as String?;
}

Future<String> _sha256(List<int> bytes) async {
  final hash = await Sha256().hash(bytes);
  return hash.bytes.map((byte) => byte.toRadixString(16).padLeft(2, '0')).join();
}

Future<Uint8List> _readOrNothing(Future<Uint8List> Function(String) read, String file) async {
  try {
    return await read(file);
  } on Object {
    return Uint8List(0); // assets and files that are missing fail in ways of their own
  }
}

/// A model with everything around it, verified and loaded.
class Bundle {
  Bundle._(this._manifest, this._files, this.model, this._session, this._runtimes);

  final _Manifest _manifest;
  final Map<String, Uint8List> _files;
  final Session _session;
  final List<Runtime> _runtimes;

  /// The model that was loaded.
  final ModelDescription model;

  /// Which release of the bundle this is.
  int get release => _manifest.release;

  /// Class names by index, where the model came with some.
  late final List<String>? labels = _readLabels();

  /// Makes sure that a bundle is what was signed, and loads it.
  static Future<Bundle> open({
    required Future<Uint8List> Function(String file) read,
    required String name,
    required String trustedKey,
    required List<Runtime> runtimes,
    Releases? releases,
  }) async {
    final manifest = await _readManifest(read, name, trustedKey);
    final seen = releases?.read(name) ?? 0;
    if (manifest.release < seen) {
      throw BundleException(Problem.release, '$name is release ${manifest.release}, and $seen was opened before');
    }
    final files = await _readAssets(manifest, read);
    final (model, session) = await _loadFirst(manifest, files, runtimes);
    await releases?.write(name, manifest.release);
    return Bundle._(manifest, files, model, session, runtimes);
  }

  static Future<_Manifest> _readManifest(
    Future<Uint8List> Function(String) read,
    String name,
    String trustedKey,
  ) async {
    final bytes = await read('bundle.json');
    if (trustedKey.isNotEmpty) {
      final key = SimplePublicKey(base64.decode(trustedKey), type: KeyPairType.ed25519);
      final content = await _readOrNothing(read, 'bundle.sig');
      final signed = content.length == 64 && await Ed25519().verify(bytes, signature: Signature(content, publicKey: key));
      if (!signed) {
        throw BundleException(Problem.signature, 'bundle.json does not carry the signature of the trusted key');
      }
    }
    final manifest = _Manifest.parse(bytes);
    if (manifest.name == name) return manifest;
    throw BundleException(Problem.manifest, 'expected the bundle $name, got ${manifest.name}');
  }

  /// Every asset is hashed, also after one was found to be wrong.
  static Future<Map<String, Uint8List>> _readAssets(
    _Manifest manifest,
    Future<Uint8List> Function(String) read,
  ) async {
    final files = <String, Uint8List>{};
    final wrong = <String>[];
    for (final MapEntry(key: file, value: asset) in manifest.assets.entries) {
      final bytes = await _readOrNothing(read, file);
      if (await _sha256(bytes) != (asset as Map<String, dynamic>)['sha256']) wrong.add(file);
      files[file] = bytes;
    }
    final needed = [manifest.golden, for (final model in manifest.models) model.file, manifest.labels];
    wrong.addAll(needed.nonNulls.where((file) => !files.containsKey(file)));
    if (wrong.isEmpty) return files;
    throw BundleException(Problem.hash, 'not the files that the bundle was made of: ${wrong.join(', ')}');
  }

  static Future<(ModelDescription, Session)> _loadFirst(
    _Manifest manifest,
    Map<String, Uint8List> files,
    List<Runtime> runtimes,
  ) async {
    final reasons = <String>[];
    for (final model in manifest.models) {
      try {
        return (model, await _load(model, files, runtimes));
      } on Object catch (error) {
        reasons.add('${model.file}: $error');
      }
    }
    throw BundleException(Problem.runtime, 'none of the models could be loaded: ${reasons.join('; ')}');
  }

  static Future<Session> _load(ModelDescription model, Map<String, Uint8List> files, List<Runtime> runtimes) {
    for (final runtime in runtimes) {
      if (runtime.format == model.format) return runtime.load(files[model.file]!, model);
    }
    throw BundleException(Problem.runtime, 'no runtime for it in this app');
  }

  /// The best classes of a picture, best first.
  Future<List<Ranked>> classify(Picture picture, {int top = 5}) async {
    final outputs = await predict([_prepare(picture)]);
    final softmax = _manifest.processing['softmax'] as bool;
    return rank(outputs.first.data, softmax: softmax, labels: labels, top: top);
  }

  /// Runs the model on inputs as the original takes them; gives its outputs as the original gives them.
  Future<List<Tensor>> predict(List<Tensor> inputs) => _predict(_session, model, inputs);

  /// Runs every model that can be loaded here on the golden data.
  Future<List<Check>> selfTest() async {
    final golden = jsonDecode(utf8.decode(_files[_manifest.golden]!)) as Map<String, dynamic>;
    final checks = <Check>[];
    for (final model in _manifest.models) {
      final Session session;
      try {
        session = await _load(model, _files, _runtimes);
      } on Object {
        continue; // its runtime is not in this app
      }
      checks.add(await _compare(session, model, golden));
      session.close();
    }
    return checks;
  }

  void close() => _session.close();

  List<String>? _readLabels() {
    final file = _manifest.labels;
    if (file == null) return null;
    return utf8.decode(_files[file]!).split('\n')..removeLast();
  }

  Tensor _prepare(Picture picture) {
    final steps = _manifest.processing['preprocessing'] as Map<String, dynamic>?;
    if (steps != null) return Preprocessing.fromJson(steps).apply(picture);
    throw BundleException(Problem.input, 'this model does not say how a picture becomes its input; use predict');
  }

  Future<Check> _compare(Session session, ModelDescription model, Map<String, dynamic> golden) async {
    final pixels = golden['picture'] as Map<String, dynamic>?;
    final given = golden['inputs'] as Map<String, dynamic>;
    final inputs = pixels == null
        ? [for (final input in model.inputs) _tensor(given[input.name] as Map<String, dynamic>)]
        : [_prepare(_picture(pixels))];
    final expected = (golden['models'] as Map<String, dynamic>)[model.file] as Map<String, dynamic>;
    final hashes = expected['inputs_sha256'] as List;
    var same = true;
    for (final (index, tensor) in inputs.indexed) {
      same = await _sha256(model.inputs[index].store(tensor).bytes) == hashes[index] && same;
    }
    final outputs = await _predict(session, model, inputs);
    var difference = 0.0;
    for (final (index, recorded) in (expected['outputs'] as List).indexed) {
      difference = max(difference, _difference(outputs[index].data, recorded as Map<String, dynamic>));
    }
    return Check(model.file, same, difference);
  }
}

Future<List<Tensor>> _predict(Session session, ModelDescription model, List<Tensor> inputs) async {
  if (inputs.length != model.inputs.length) {
    throw BundleException(Problem.input, 'expected ${model.inputs.length} inputs, got ${inputs.length}');
  }
  for (final (index, tensor) in inputs.indexed) {
    _checkShape(tensor, model.inputs[index]);
  }
  final outputs = await session.run([
    for (final (index, tensor) in inputs.indexed) model.inputs[index].store(tensor),
  ]);
  return [for (final (index, tensor) in outputs.indexed) model.outputs[index].load(tensor)];
}

void _checkShape(Tensor tensor, TensorDescription input) {
  final wanted = input.sourceShape;
  var fits = wanted.length == tensor.shape.length;
  for (var axis = 0; fits && axis < wanted.length; axis++) {
    fits = wanted[axis] == null || wanted[axis] == tensor.shape[axis];
  }
  final count = tensor.shape.fold(1, (product, size) => product * size);
  if (fits && count == tensor.data.length) return;
  throw BundleException(
    Problem.input,
    '${input.name}: expected the shape $wanted, got ${tensor.data.length} numbers of shape ${tensor.shape}',
  );
}

/// In units of what is tolerated; NaN is as far away as can be.
double _difference(List<num> found, Map<String, dynamic> recorded) {
  final values = ByteData.sublistView(base64.decode(recorded['values'] as String));
  final (scale, tolerance) = (recorded['scale'] as num, recorded['tolerance'] as num);
  final stride = recorded['stride'] as int;
  final count = values.lengthInBytes ~/ 2;
  if ((found.length + stride - 1) ~/ stride != count) return double.infinity;
  var largest = 0.0;
  for (var index = 0; index < count; index++) {
    final away = (found[index * stride] - values.getInt16(2 * index, Endian.little) * scale).abs();
    if (away.isNaN) return double.infinity;
    largest = max(largest, away.toDouble());
  }
  return largest / tolerance;
}

Picture _picture(Map<String, dynamic> pixels) {
  final (width, height) = (pixels['width'] as int, pixels['height'] as int);
  final rgb = base64.decode(pixels['rgb'] as String);
  final rgba = Uint8List(4 * width * height)..fillRange(0, 4 * width * height, 255);
  for (var pixel = 0; pixel < width * height; pixel++) {
    rgba.setRange(4 * pixel, 4 * pixel + 3, rgb, 3 * pixel);
  }
  return Picture(width, height, rgba);
}

Tensor _tensor(Map<String, dynamic> entry) {
  final tensor = Tensor.allocate(entry['dtype'] as String, (entry['shape'] as List).cast<int>());
  tensor.bytes.setAll(0, base64.decode(entry['data'] as String));
  return tensor;
}
