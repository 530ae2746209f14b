import CryptoKit
import Foundation

/// What went wrong: the first three say that files must not be trusted, the others what to mend.
public enum Problem: String {
    case signature, hash, release, manifest, runtime, picture, input
}

/// Everything that a bundle refuses on purpose.
public struct BundleError: LocalizedError {
    public let problem: Problem
    public let message: String

    init(_ problem: Problem, _ message: String) {
        self.problem = problem
        self.message = message
    }

    public var errorDescription: String? { "\(problem.rawValue): \(message)" }
}

/// One model of the bundle.
public struct ModelDescription: Decodable {
    public let format: String
    public let file: String
    public let inputs: [TensorDescription]
    public let outputs: [TensorDescription]
}

/// A model that a runtime has loaded: takes and gives bytes as the model stores them, in its order.
public protocol Session {
    func run(_ inputs: [Data], shapes: [[Int]]) throws -> [(data: Data, shape: [Int])]
}

/// What can load models of one format.
public protocol Runtime {
    var format: String { get }
    func load(_ model: URL, _ description: ModelDescription) throws -> Session
}

/// Remembers the highest release that was opened, so that an older bundle cannot take its place.
public protocol Releases {
    func read(_ name: String) -> Int
    func write(_ name: String, _ release: Int)
}

/// What the self-test found of one model: at most 1 of `difference` is well.
public struct Check {
    public let file: String
    public let sameInputs: Bool
    public let difference: Double
    public var passed: Bool { sameInputs && difference <= 1 }
}

struct Manifest: Decodable {
    struct Asset: Decodable { let sha256: String }
    struct Processing: Decodable {
        let schema: Int
        let preprocessing: Preprocessing?
        let softmax: Bool
        let labels: String?
    }

    static let schema = 1
    let schema: Int
    let name: String
    let release: Int
    let models: [ModelDescription]
    let processing: Processing
    let golden: String
    let assets: [String: Asset]
}

/// A bundle's files after signature, release and hashes were checked.
struct Verified {
    let manifest: Manifest
    let folder: URL

    init(folder: URL, name: String, trustedKey: String, seen: Int) throws {
        let bytes = try Verified.bytes(folder, "bundle.json")
        if !trustedKey.isEmpty {
            let key = try Curve25519.Signing.PublicKey(rawRepresentation: Data(base64Encoded: trustedKey) ?? Data())
            let signature = (try? Verified.bytes(folder, "bundle.sig")) ?? Data()
            guard key.isValidSignature(signature, for: bytes) else {
                throw BundleError(.signature, "bundle.json does not carry the signature of the trusted key")
            }
        }
        guard let manifest = try? JSONDecoder().decode(Manifest.self, from: bytes), !manifest.models.isEmpty,
              max(manifest.schema, manifest.processing.schema) <= Manifest.schema
        else { throw BundleError(.manifest, "bundle.json is damaged, or of a newer schema than \(Manifest.schema)") }
        guard manifest.name == name else { throw BundleError(.manifest, "expected the bundle \(name), got \(manifest.name)") }
        guard manifest.release >= seen else {
            throw BundleError(.release, "\(name) is release \(manifest.release), and \(seen) was opened before")
        }
        // Every asset is hashed, also after one was found to be wrong.
        var wrong = manifest.assets.filter { file, asset in
            ((try? Verified.bytes(folder, file)).map(sha256) ?? "") != asset.sha256
        }.map(\.key)
        let needed = manifest.models.map(\.file) + [manifest.golden, manifest.processing.labels].compactMap { $0 }
        wrong += needed.filter { manifest.assets[$0] == nil }
        guard wrong.isEmpty else {
            throw BundleError(.hash, "not the files that the bundle was made of: \(wrong.sorted().joined(separator: ", "))")
        }
        self.manifest = manifest
        self.folder = folder
    }

    static func bytes(_ folder: URL, _ file: String) throws -> Data {
        try Data(contentsOf: folder.appendingPathComponent(file), options: .alwaysMapped)
    }
}

func sha256(_ data: Data) -> String { SHA256.hash(data: data).map { String(format: "%02x", $0) }.joined() }

/// A model with everything around it, verified and loaded. Not thread-safe, as runtimes are not.
public final class ModelBundle {
    public let model: ModelDescription
    public let labels: [String]?
    private let verified: Verified
    private let session: Session
    private let runtimes: [Runtime]

    /// Makes sure that a bundle is what was signed, and loads the first of its models that a runtime takes.
    public init(folder: URL, name: String, trustedKey: String, runtimes: [Runtime], releases: Releases?) throws {
        verified = try Verified(folder: folder, name: name, trustedKey: trustedKey, seen: releases?.read(name) ?? 0)
        self.runtimes = runtimes
        (model, session) = try ModelBundle.loadFirst(verified, runtimes)
        labels = try verified.manifest.processing.labels.map { file in
            let text = String(decoding: try Verified.bytes(folder, file), as: UTF8.self)
            return text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
        }
        releases?.write(name, verified.manifest.release)
    }

    public var release: Int { verified.manifest.release }

    /// The best classes of a picture, best first.
    public func classify(_ picture: Picture, top: Int = 5) throws -> [Ranked] {
        let output = try predict([prepare(picture)])[0]
        return rank(output.values, softmax: verified.manifest.processing.softmax, labels: labels, top: top)
    }

    /// Runs the model on inputs as the original takes them; gives its outputs as the original gives them.
    public func predict(_ inputs: [Tensor]) throws -> [Tensor] { try ModelBundle.predict(session, model, inputs) }

    /// Runs every model that can be loaded here on the golden data.
    public func selfTest() throws -> [Check] {
        let golden = try JSONDecoder().decode(Golden.self, from: Verified.bytes(verified.folder, verified.manifest.golden))
        return try verified.manifest.models.compactMap { model in
            guard let session = try? ModelBundle.attempt(model, verified, runtimes) else { return nil }
            let inputs = try golden.picture.map { [try prepare($0.picture)] }
                ?? model.inputs.map { try golden.inputs[$0.name].unwrapped("golden input \($0.name)").tensor }
            let expected = try golden.models[model.file].unwrapped("golden data of \(model.file)")
            let hashes = try zip(model.inputs, inputs).map { sha256(try $0.store($1)) }
            let outputs = try ModelBundle.predict(session, model, inputs)
            let differences = zip(expected.outputs, outputs).map { $0.difference($1.values) }
            return Check(file: model.file, sameInputs: hashes == expected.inputs_sha256, difference: differences.max() ?? 0)
        }
    }

    private func prepare(_ picture: Picture) throws -> Tensor {
        guard let steps = verified.manifest.processing.preprocessing else {
            throw BundleError(.input, "this model does not say how a picture becomes its input; use predict")
        }
        return try steps.apply(picture)
    }

    private static func loadFirst(_ verified: Verified, _ runtimes: [Runtime]) throws -> (ModelDescription, Session) {
        var reasons: [String] = []
        for model in verified.manifest.models {
            do { return (model, try attempt(model, verified, runtimes)) } catch { reasons.append("\(model.file): \(error)") }
        }
        throw BundleError(.runtime, "none of the models could be loaded: \(reasons.joined(separator: "; "))")
    }

    private static func attempt(_ model: ModelDescription, _ verified: Verified, _ runtimes: [Runtime]) throws -> Session {
        let runtime = try runtimes.first { $0.format == model.format }.unwrapped("runtime for it in this app")
        return try runtime.load(verified.folder.appendingPathComponent(model.file), model)
    }

    private static func predict(_ session: Session, _ model: ModelDescription, _ inputs: [Tensor]) throws -> [Tensor] {
        guard inputs.count == model.inputs.count else {
            throw BundleError(.input, "expected \(model.inputs.count) inputs, got \(inputs.count)")
        }
        for (tensor, description) in zip(inputs, model.inputs) {
            let wanted = description.sourceShape
            let fits = wanted.count == tensor.shape.count && zip(wanted, tensor.shape).allSatisfy { $0 == nil || $0 == $1 }
            guard fits, tensor.values.count == tensor.shape.reduce(1, *) else {
                throw BundleError(.input, "\(description.name): expected the shape \(wanted), got \(tensor.shape)")
            }
        }
        let stored = try zip(model.inputs, inputs).map { try $0.store($1) }
        let shapes = zip(model.inputs, inputs).map { description, tensor in
            description.permutation.map { order in order.map { tensor.shape[$0] } } ?? tensor.shape
        }
        let results = try session.run(stored, shapes: shapes)
        return try zip(model.outputs, results).map { try $0.load($1.data, shape: $1.shape) }
    }
}

struct Golden: Decodable {
    struct Pixels: Decodable {
        let width, height: Int
        let rgb: Data

        var picture: Picture {
            let pixels = [UInt8](rgb)
            let rgba = (0..<(width * height)).flatMap { [pixels[3 * $0], pixels[3 * $0 + 1], pixels[3 * $0 + 2], 255] }
            return Picture(width: width, height: height, rgba: rgba)
        }
    }

    struct Input: Decodable {
        let shape: [Int]
        let data: Data
        var tensor: Tensor { Tensor(shape: shape, values: numbers(data, Float.self)) }
    }

    struct Output: Decodable {
        let values: Data
        let scale, tolerance: Double
        let stride: Int

        /// In units of what is tolerated.
        func difference(_ found: [Float]) -> Double {
            let recorded = numbers(values, Int16.self)
            guard (found.count + stride - 1) / stride == recorded.count else { return .infinity }
            let away = recorded.indices.map { abs(Double(found[$0 * stride]) - Double(recorded[$0]) * scale) }
            return away.contains { $0.isNaN } ? .infinity : (away.max() ?? 0) / tolerance
        }
    }

    struct Expected: Decodable {
        let inputs_sha256: [String]
        let outputs: [Output]
    }

    let picture: Pixels?
    let inputs: [String: Input]
    let models: [String: Expected]
}

extension Optional {
    func unwrapped(_ what: String) throws -> Wrapped {
        guard let self else { throw BundleError(.manifest, "there is no \(what)") }
        return self
    }
}
