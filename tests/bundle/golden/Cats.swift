import CoreGraphics
import Foundation
#if canImport(UIKit)
import UIKit
#endif

/// Cats: verified, loaded, and ready to be asked. Open it once, off the main thread, and keep it.
public enum CatsModel {
    /// The public key that must have signed the bundle, or "".
    public static let trustedKey = "KEY"

    /// The runtimes of this build, whose first that takes a model runs it; the order of models is the bundle's.
    public static func runtimes() -> [Runtime] {
        var found: [Runtime] = []
        #if canImport(TensorFlowLite)
        found.append(LiteRtRuntime())
        #endif
        if let onnxRuntime = try? OnnxRuntime() { found.append(onnxRuntime) }
        return found
    }

    /// Opens the bundle in this package's resources, or a newer one that was downloaded to `folder`.
    public static func open(folder: URL? = nil, runtimes: [Runtime] = runtimes()) throws -> ModelBundle {
        let resources = Bundle.module.resourceURL!.appendingPathComponent("Resources")
        return try ModelBundle(
            folder: folder ?? resources, name: "cats", trustedKey: trustedKey, runtimes: runtimes,
            releases: StoredReleases())
    }
}

/// Releases in the app's preferences.
struct StoredReleases: Releases {
    func read(_ name: String) -> Int { UserDefaults.standard.integer(forKey: "edgecomp.release.\(name)") }
    func write(_ name: String, _ release: Int) { UserDefaults.standard.set(release, forKey: "edgecomp.release.\(name)") }
}

public extension Picture {
    /// The pixels of an upright image; its orientation lies elsewhere, in a `UIImage` for one.
    init(_ image: CGImage) throws {
        let (width, height) = (image.width, image.height)
        guard width > 0, height > 0, width <= Preprocessing.maxPixels / height else {
            throw BundleError(.picture, "\(width) x \(height) pixels are none, or more than this app can hold")
        }
        var rgba = [UInt8](repeating: 0, count: 4 * width * height)
        let drawn = rgba.withUnsafeMutableBytes { bytes -> Bool in
            let context = CGContext(
                data: bytes.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width,
                space: image.colorSpace?.model == .rgb ? image.colorSpace! : CGColorSpaceCreateDeviceRGB(),
                bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
            context?.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
            return context != nil
        }
        guard drawn else { throw BundleError(.picture, "an image of a kind that cannot be drawn") }
        self.init(width: width, height: height, rgba: rgba)
    }
}

#if canImport(UIKit)
public extension Picture {
    /// The pixels of an image as it is shown, whichever way the camera was held.
    init(_ image: UIImage) throws {
        let format = UIGraphicsImageRendererFormat()
        format.scale = image.scale
        let turned = image.imageOrientation != .up
        let upright = turned
            ? UIGraphicsImageRenderer(size: image.size, format: format).image { _ in image.draw(at: .zero) }
            : image
        guard let pixels = upright.cgImage else { throw BundleError(.picture, "an image without pixels of its own") }
        try self.init(pixels)
    }
}
#endif
