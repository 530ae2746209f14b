export * from "./bundle.js";
export * from "./errors.js";
export { isSignedBy, sha256, sha256Portable } from "./integrity.js";
export * from "./processing.js";
export { liteRt, type LiteRt } from "./litert.js";
export { onnxRuntime, type OnnxRuntime } from "./onnxruntime.js";
