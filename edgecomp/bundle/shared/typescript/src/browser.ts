// What a browser gives: files over HTTP, pictures, and a place to remember releases.

import { BundleError } from "./errors.js";
import type { Releases } from "./bundle.js";
import { MAX_PIXELS, type Picture } from "./processing.js";

/** Reads a bundle's files from a folder on the web. */
export function readFrom(folder: URL | string): (file: string) => Promise<Uint8Array> {
  return async (file) => {
    const response = await fetch(new URL(file, new URL(folder, document.baseURI)));
    if (!response.ok) throw new Error(`${file}: HTTP ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  };
}

/** Releases in the page's local storage. */
export const storedReleases: Releases = {
  read: (name) => Number(localStorage.getItem(`edgecomp.release.${name}`) ?? 0),
  write: (name, release) => localStorage.setItem(`edgecomp.release.${name}`, String(release)),
};

/** Decodes a picture upright, with its own numbers: no colour profile and no alpha are worked in. */
export async function pictureFrom(file: Blob): Promise<Picture> {
  const bitmap = await createImageBitmap(file, {
    imageOrientation: "from-image", premultiplyAlpha: "none", colorSpaceConversion: "none",
  }).catch((error: Error) => {
    throw new BundleError("picture", `the browser cannot decode it: ${error.message}`);
  });
  const { width, height } = bitmap;
  const context = width * height <= MAX_PIXELS
    ? new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })
    : null;
  if (!context) throw new BundleError("picture", `${width} x ${height} pixels are more than this page can hold`);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}
