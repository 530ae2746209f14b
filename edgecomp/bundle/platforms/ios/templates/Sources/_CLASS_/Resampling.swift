import Foundation

/// Eight bits per channel, red, green, blue and alpha interleaved, row by row. Alpha is ignored.
public struct Picture {
    public let width: Int
    public let height: Int
    public let rgba: [UInt8]

    public init(width: Int, height: Int, rgba: [UInt8]) {
        self.width = width
        self.height = height
        self.rgba = rgba
    }
}

/// A part of a resized picture.
struct Box {
    let left, top, width, height: Int
}

/// Bytes with so many channels per pixel, `stride` bytes apart.
struct Pixels {
    let width, height, stride: Int
    let bytes: [UInt8]
}

/// Pillow's resampling to the bit: weights in Double, rounded to 22 bits, one pass over rows and one over columns.
enum Resampling {
    private static let precision = 22

    /// Where each output pixel's window begins, how long it is, and its weights.
    private struct Window {
        let start: Int
        let weights: [Int32]
    }

    /// What lies in `box` after a picture is resized; nothing else of it is computed.
    static func resample(_ picture: Pixels, width: Int, height: Int, box: Box, channels: Int, method: String) -> [UInt8] {
        let same = width == picture.width && height == picture.height
        guard method != "nearest", !same, let filter = filters[method] else {
            return pick(picture, width: width, height: height, box: box, channels: channels)
        }
        let columns = windows(from: picture.width, to: width, first: box.left, count: box.width, filter: filter)
        let rows = windows(from: picture.height, to: height, first: box.top, count: box.height, filter: filter)
        let narrow = alongRows(picture, columns: columns, rows: rows, channels: channels)
        return alongColumns(narrow, line: box.width * channels, rows: rows)
    }

    private static let filters: [String: (support: Double, weigh: (Double) -> Double)] = [
        "bilinear": (1, { max(0, 1 - abs($0)) }),
        "bicubic": (2, { signed in
            let x = abs(signed), a = -0.5
            if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
            return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
        }),
        "lanczos": (3, { $0 >= -3 && $0 < 3 ? sinc($0) * sinc($0 / 3) : 0 }),
    ]

    private static func sinc(_ x: Double) -> Double { x == 0 ? 1 : sin(x * .pi) / (x * .pi) }

    private static func windows(
        from: Int, to: Int, first: Int, count: Int, filter: (support: Double, weigh: (Double) -> Double)
    ) -> [Window] {
        let scale = Double(from) / Double(to)
        let stretch = max(scale, 1)
        let reach = filter.support * stretch
        return (0..<count).map { index in
            let center = (Double(first + index) + 0.5) * scale
            let start = max(0, Int(center - reach + 0.5))
            let end = min(from, Int(center + reach + 0.5))
            let exact = (start..<end).map { filter.weigh((Double($0) - center + 0.5) * (1 / stretch)) }
            let sum = exact.reduce(0, +)
            return Window(start: start, weights: exact.map { weight in
                let scaled = (sum == 0 ? weight : weight / sum) * Double(1 << precision)
                return Int32(scaled < 0 ? scaled - 0.5 : scaled + 0.5)
            })
        }
    }

    private static func alongRows(_ picture: Pixels, columns: [Window], rows: [Window], channels: Int) -> [UInt8] {
        let first = rows[0].start
        let count = rows[rows.count - 1].start + rows[rows.count - 1].weights.count - first
        var out = [UInt8](repeating: 0, count: count * columns.count * channels)
        var place = 0
        for row in first..<(first + count) {
            for column in columns {
                let begin = (row * picture.width + column.start) * picture.stride
                for channel in 0..<channels {
                    var sum = Int32(1 << (precision - 1))
                    for (k, weight) in column.weights.enumerated() {
                        sum += Int32(picture.bytes[begin + k * picture.stride + channel]) * weight
                    }
                    out[place] = clipped(sum)
                    place += 1
                }
            }
        }
        return out
    }

    private static func alongColumns(_ bytes: [UInt8], line: Int, rows: [Window]) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: rows.count * line)
        for (index, row) in rows.enumerated() {
            let begin = (row.start - rows[0].start) * line
            for column in 0..<line {
                var sum = Int32(1 << (precision - 1))
                for (k, weight) in row.weights.enumerated() { sum += Int32(bytes[begin + k * line + column]) * weight }
                out[index * line + column] = clipped(sum)
            }
        }
        return out
    }

    private static func clipped(_ sum: Int32) -> UInt8 { UInt8(min(255, max(0, sum >> Int32(precision)))) }

    /// The nearest pixels; places are summed up step by step, as Pillow does.
    private static func pick(_ picture: Pixels, width: Int, height: Int, box: Box, channels: Int) -> [UInt8] {
        let columns = places(from: picture.width, to: width)[box.left..<(box.left + box.width)]
        let rows = places(from: picture.height, to: height)[box.top..<(box.top + box.height)]
        return rows.flatMap { row in
            columns.flatMap { column -> ArraySlice<UInt8> in
                let begin = (row * picture.width + column) * picture.stride
                return picture.bytes[begin..<(begin + channels)]
            }
        }
    }

    private static func places(from: Int, to: Int) -> [Int] {
        let step = Double(from) / Double(to)
        var at = step * 0.5
        return (0..<to).map { _ in
            defer { at += step }
            return min(Int(at), from - 1)
        }
    }
}
