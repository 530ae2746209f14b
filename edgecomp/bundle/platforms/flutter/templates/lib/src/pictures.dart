import 'dart:typed_data';
import 'dart:ui' as ui;

import 'errors.dart';
import 'processing.dart';

/// Decodes an image file, upright as its EXIF data say; no alpha is worked in.
Future<Picture> pictureFrom(Uint8List file) async {
  try {
    final codec = await ui.instantiateImageCodec(file);
    final image = (await codec.getNextFrame()).image;
    codec.dispose();
    final picture = await pictureOf(image);
    image.dispose();
    return picture;
  } on BundleException {
    rethrow;
  } on Exception catch (error) {
    throw BundleException(Problem.picture, 'this device cannot decode it: $error');
  }
}

/// The pixels of an image that is decoded already.
Future<Picture> pictureOf(ui.Image image) async {
  final data = await image.toByteData(format: ui.ImageByteFormat.rawStraightRgba);
  if (data == null) throw BundleException(Problem.picture, 'an image whose pixels cannot be read');
  return Picture(image.width, image.height, data.buffer.asUint8List(data.offsetInBytes, data.lengthInBytes));
}
