/// What went wrong: the first three say that files must not be trusted, the others what to mend.
enum Problem { signature, hash, release, manifest, runtime, picture, input }

/// Everything that a bundle refuses on purpose.
class BundleException implements Exception {
  BundleException(this.problem, this.message);

  final Problem problem;
  final String message;

  @override
  String toString() => '${problem.name}: $message';
}
