import Foundation
import OnnxRuntimeBindings

/// Runs `.onnx` models in ONNX Runtime.
public final class OnnxRuntime: Runtime {
    public let format = "onnxruntime"
    private let environment: ORTEnv
    private let threads: Int32

    public init(threads: Int32 = 2) throws {
        environment = try ORTEnv(loggingLevel: .warning)
        self.threads = threads
    }

    private static let types: [String: ORTTensorElementDataType] = [
        "float32": .float, "int8": .int8, "uint8": .uInt8, "int32": .int32, "int64": .int64,
    ]

    public func load(_ model: URL, _ description: ModelDescription) throws -> Session {
        let options = try ORTSessionOptions()
        try options.setIntraOpNumThreads(threads)
        let session = try ORTSession(env: environment, modelPath: model.path, sessionOptions: options)
        return Loaded(session: session, description: description)
    }

    private struct Loaded: Session {
        let session: ORTSession
        let description: ModelDescription

        func run(_ inputs: [Data], shapes: [[Int]]) throws -> [(data: Data, shape: [Int])] {
            var fed: [String: ORTValue] = [:]
            for (index, input) in description.inputs.enumerated() {
                let type = try OnnxRuntime.types[input.dtype].unwrapped("type \(input.dtype) in ONNX Runtime")
                let shape = shapes[index].map { NSNumber(value: $0) }
                let data = NSMutableData(data: inputs[index])
                fed[input.name] = try ORTValue(tensorData: data, elementType: type, shape: shape)
            }
            let names = description.outputs.map(\.name)
            let results = try session.run(withInputs: fed, outputNames: Set(names), runOptions: nil)
            return try names.map { name in
                let value = try results[name].unwrapped("output \(name)")
                return (try value.tensorData() as Data, try value.tensorTypeAndShapeInfo().shape.map(\.intValue))
            }
        }
    }
}
