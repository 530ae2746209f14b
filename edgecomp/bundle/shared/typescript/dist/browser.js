import { BundleError } from "./errors.js";
import { MAX_PIXELS } from "./processing.js";
export function readFrom(folder) {
    return async (file) => {
        const response = await fetch(new URL(file, new URL(folder, document.baseURI)));
        if (!response.ok)
            throw new Error(`${file}: HTTP ${response.status}`);
        return new Uint8Array(await response.arrayBuffer());
    };
}
export const storedReleases = {
    read: (name) => Number(localStorage.getItem(`edgecomp.release.${name}`) ?? 0),
    write: (name, release) => localStorage.setItem(`edgecomp.release.${name}`, String(release)),
};
export async function pictureFrom(file) {
    const bitmap = await createImageBitmap(file, {
        imageOrientation: "from-image", premultiplyAlpha: "none", colorSpaceConversion: "none",
    }).catch((error) => {
        throw new BundleError("picture", `the browser cannot decode it: ${error.message}`);
    });
    const { width, height } = bitmap;
    const context = width * height <= MAX_PIXELS
        ? new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })
        : null;
    if (!context)
        throw new BundleError("picture", `${width} x ${height} pixels are more than this page can hold`);
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    return context.getImageData(0, 0, width, height);
}
