// LiteRT for iOS comes from CocoaPods (TensorFlowLiteSwift), not as a Swift package: this is code where it is there.
#if canImport(TensorFlowLite)
import Foundation
import TensorFlowLite

/// Runs `.tflite` models in LiteRT.
public final class LiteRtRuntime: Runtime {
    public let format = "tflite"
    private let threads: Int

    public init(threads: Int = 2) { self.threads = threads }

    public func load(_ model: URL, _ description: ModelDescription) throws -> Session {
        var options = Interpreter.Options()
        options.threadCount = threads
        return Loaded(interpreter: try Interpreter(modelPath: model.path, options: options))
    }

    private struct Loaded: Session {
        let interpreter: Interpreter

        func run(_ inputs: [Data], shapes: [[Int]]) throws -> [(data: Data, shape: [Int])] {
            for (index, shape) in shapes.enumerated() { try interpreter.resizeInput(at: index, to: .init(shape)) }
            try interpreter.allocateTensors()
            for (index, data) in inputs.enumerated() { try interpreter.copy(data, toInputAt: index) }
            try interpreter.invoke()
            return try (0..<interpreter.outputTensorCount).map { index in
                let output = try interpreter.output(at: index)
                return (output.data, output.shape.dimensions)
            }
        }
    }
}
#endif
