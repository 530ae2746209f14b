import Foundation

/// From a picture to what a model stores as its input: edgecomp's processing, schema 1.
public struct Preprocessing: Decodable {
    let resize: Int?
    let crop: Int?
    let scale: Float
    let mean: [Float]
    let std: [Float]
    let channels: String
    let layout: String
    let interpolation: String

    /// More pixels than any camera has; a picture beyond is refused before memory is asked for.
    static let maxPixels = 1 << 28

    /// One picture as Float with an axis of size 1 in front, in the source's layout.
    public func apply(_ picture: Picture) throws -> Tensor {
        let (width, height) = (picture.width, picture.height)
        guard width > 0, height > 0, width <= Preprocessing.maxPixels / height, picture.rgba.count == 4 * width * height else {
            let given = "\(width) x \(height) in \(picture.rgba.count) bytes"
            throw BundleError(.picture, "expected a picture of 1 to \(Preprocessing.maxPixels) pixels, got \(given)")
        }
        let shorter = resize ?? crop
        let factor = shorter.map { Double($0) / Double(min(width, height)) } ?? 1
        let sizes = [width, height].map { side in
            shorter.map { max($0, Int((Double(side) * factor).rounded(.toNearestOrEven))) } ?? side
        }
        let box = crop.map { Box(left: (sizes[0] - $0) / 2, top: (sizes[1] - $0) / 2, width: $0, height: $0) }
            ?? Box(left: 0, top: 0, width: sizes[0], height: sizes[1])
        let depth = channels == "gray" ? 1 : 3
        let pixels = depth == 1 ? gray(picture) : Pixels(width: width, height: height, stride: 4, bytes: picture.rgba)
        let bytes = Resampling.resample(
            pixels, width: sizes[0], height: sizes[1], box: box, channels: depth, method: interpolation)
        return normalize(bytes, width: box.width, height: box.height, depth: depth)
    }

    /// ITU-R 601 luma in 16-bit fixed point, as Pillow computes it.
    private func gray(_ picture: Picture) -> Pixels {
        let bytes = stride(from: 0, to: picture.rgba.count, by: 4).map { at -> UInt8 in
            let (red, green, blue) = (Int(picture.rgba[at]), Int(picture.rgba[at + 1]), Int(picture.rgba[at + 2]))
            return UInt8((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16)
        }
        return Pixels(width: picture.width, height: picture.height, stride: 1, bytes: bytes)
    }

    private func normalize(_ bytes: [UInt8], width: Int, height: Int, depth: Int) -> Tensor {
        let area = width * height
        let planar = layout == "nchw"
        var values = [Float](repeating: 0, count: area * depth)
        for channel in 0..<depth {
            // What each of the 256 bytes becomes; every step is rounded to Float.
            let (mean, std) = (mean[channel % mean.count], std[channel % std.count])
            let table = (0..<256).map { (Float($0) / scale - mean) / std }
            let from = channels == "bgr" ? depth - 1 - channel : channel
            let (start, step) = planar ? (channel * area, 1) : (channel, depth)
            for pixel in 0..<area { values[start + pixel * step] = table[Int(bytes[pixel * depth + from])] }
        }
        return Tensor(shape: planar ? [1, depth, height, width] : [1, height, width, depth], values: values)
    }
}

/// Real numbers as the original model takes or gives them.
public struct Tensor {
    public let shape: [Int]
    public let values: [Float]

    public init(shape: [Int], values: [Float]) {
        self.shape = shape
        self.values = values
    }

    /// Axis `i` of the result is axis `permutation[i]` of this.
    func transposed(_ permutation: [Int]) -> Tensor {
        let strides = shape.indices.map { shape[($0 + 1)...].reduce(1, *) }
        let sizes = permutation.map { shape[$0] }
        var result = values
        var at = [Int](repeating: 0, count: shape.count)
        var from = 0
        for place in result.indices {
            result[place] = values[from]
            for axis in shape.indices.reversed() {
                from += strides[permutation[axis]]
                at[axis] += 1
                if at[axis] < sizes[axis] { break }
                from -= strides[permutation[axis]] * sizes[axis]
                at[axis] = 0
            }
        }
        return Tensor(shape: sizes, values: result)
    }
}

/// One input or output as a model stores it, and how that differs from the source.
public struct TensorDescription: Decodable {
    public let name: String
    public let dtype: String
    public let shape: [Int?]
    let permutation: [Int]?
    let scale: Float?
    let zero_point: Int?

    /// As the source takes or gives it.
    var sourceShape: [Int?] {
        guard let permutation else { return shape }
        return permutation.indices.map { shape[permutation.firstIndex(of: $0)!] }
    }

    /// The bytes of a tensor as the model stores it.
    func store(_ tensor: Tensor) throws -> Data {
        let values = (permutation.map(tensor.transposed) ?? tensor).values
        guard let scale, let zero_point else {
            guard dtype == "float32" else { throw unsupported }
            return values.withUnsafeBytes { Data($0) }
        }
        let integers = values.map { Int(($0 / scale).rounded(.toNearestOrEven)) + zero_point }
        switch dtype {
        case "int8": return integers.map { Int8(min(127, max(-128, $0))) }.withUnsafeBytes { Data($0) }
        case "uint8": return Data(integers.map { UInt8(min(255, max(0, $0))) })
        case "int16": return integers.map { Int16(min(32767, max(-32768, $0))) }.withUnsafeBytes { Data($0) }
        default: throw unsupported
        }
    }

    /// The other way round; `stored` has the shape that the runtime says.
    func load(_ stored: Data, shape: [Int]) throws -> Tensor {
        let values: [Float]
        switch dtype {
        case "float32": values = numbers(stored, Float.self)
        case "int8": values = numbers(stored, Int8.self).map(real)
        case "uint8": values = numbers(stored, UInt8.self).map(real)
        case "int16": values = numbers(stored, Int16.self).map(real)
        default: throw unsupported
        }
        let tensor = Tensor(shape: shape, values: values)
        guard let permutation else { return tensor }
        return tensor.transposed(permutation.indices.map { permutation.firstIndex(of: $0)! })
    }

    private var unsupported: BundleError { BundleError(.manifest, "\(name): numbers of type \(dtype) are not supported here") }

    private func real<Number: BinaryInteger>(_ stored: Number) -> Float {
        (Float(stored) - Float(zero_point ?? 0)) * (scale ?? 1)
    }
}

/// The numbers that bytes hold.
func numbers<Number>(_ data: Data, _ type: Number.Type) -> [Number] {
    data.withUnsafeBytes { Array($0.bindMemory(to: type)) }
}

/// One line of an answer: `score` is a probability.
public struct Ranked: Equatable {
    public let index: Int
    public let label: String
    public let score: Double
}

/// The best classes, best first; of equals the lower index.
func rank(_ scores: [Float], softmax: Bool, labels: [String]?, top: Int) -> [Ranked] {
    let largest = Double(scores.max() ?? 0)
    let powers = scores.map { softmax ? exp(Double($0) - largest) : Double($0) }
    let sum = softmax ? powers.reduce(0, +) : 1
    let order = scores.indices.sorted { (scores[$1], $0) < (scores[$0], $1) }
    return order.prefix(top).map { Ranked(index: $0, label: labels?[$0] ?? "class \($0)", score: powers[$0] / sum) }
}
