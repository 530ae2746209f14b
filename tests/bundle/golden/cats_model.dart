/// Cats: opens this bundle. Everything else is in src/.
library;

import 'dart:io';
import 'dart:typed_data';

import 'package:flutter/services.dart' show rootBundle;
import 'package:shared_preferences/shared_preferences.dart';

import 'src/bundle.dart';

export 'src/bundle.dart';
export 'src/pictures.dart';
export 'src/processing.dart';

/// The public key that must have signed the bundle, or "".
const trustedKey = 'KEY';

/// Verifies the bundle and loads its first model that one of [runtimes] takes.
///
/// With [folder], a newer bundle that was downloaded takes the place of the one among the assets.
Future<Bundle> openCats(List<Runtime> runtimes, {Directory? folder}) async {
  final stored = _StoredReleases(await SharedPreferences.getInstance());
  return Bundle.open(
    read: folder == null ? _asset : (file) => File('${folder.path}/$file').readAsBytes(),
    name: 'cats',
    trustedKey: trustedKey,
    runtimes: runtimes,
    releases: stored,
  );
}

Future<Uint8List> _asset(String file) async {
  final data = await rootBundle.load('packages/cats_model/assets/$file');
  return data.buffer.asUint8List(data.offsetInBytes, data.lengthInBytes);
}

/// Releases in the app's preferences.
class _StoredReleases implements Releases {
  _StoredReleases(this._preferences);

  final SharedPreferences _preferences;

  @override
  int read(String name) => _preferences.getInt('edgecomp.release.$name') ?? 0;

  @override
  Future<void> write(String name, int release) => _preferences.setInt('edgecomp.release.$name', release);
}
