package edgecomp.cats

import com.sun.management.OperatingSystemMXBean
import java.awt.Image
import java.awt.image.BufferedImage
import java.io.File
import java.lang.management.ManagementFactory
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64

/** Gives what was recorded, shifted by so many times what is tolerated; stands in for runtimes that a PC has not. */
class Recorded(folder: File, override val format: String, private val shift: Double) : Runtime {
    private val golden by lazy { Json.parse(File(folder, "golden.json").readText()) }

    override fun load(model: ByteBuffer, description: ModelDescription) = object : Session {
        override fun run(inputs: List<Tensor>) = description.outputs.mapIndexed { index, output ->
            val expected = asMap((asMap(asMap(golden["models"])[description.file])["outputs"] as List<*>)[index])
            val values = ByteBuffer.wrap(decode(expected["values"])).order(ByteOrder.LITTLE_ENDIAN).asShortBuffer()
            val (scale, tolerance) = Pair(expected["scale"] as Double, expected["tolerance"] as Double)
            val stride = (expected["stride"] as Double).toInt()
            val reals = FloatArray(output.sourceShape.fold(1, Int::times)) { (values[it / stride] * scale + shift * tolerance).toFloat() }
            output.store(Tensor.of(reals, *output.sourceShape))
        }

        override fun close() = Unit
    }
}

class Missing(override val format: String) : Runtime {
    override fun load(model: ByteBuffer, description: ModelDescription): Session = throw NoClassDefFoundError("org/tensorflow/lite")
}

class Seen(private var release: Int) : Releases {
    override fun read(name: String) = release
    override fun write(name: String, release: Int) { this.release = release }
}

fun decode(text: Any?): ByteArray = Base64.getDecoder().decode(text as String)

fun opened(folder: File, key: String, runtimes: List<Runtime>, seen: Int = 0, name: String = "cats"): String = try {
    val read = { file: String -> ByteBuffer.wrap(File(folder, file).readBytes()) }
    Bundle.open(read, name, key, runtimes, Seen(seen)).use { bundle ->
        val answer = bundle.classify(Picture(30, 20, IntArray(600) { it * 1234567 })).first()
        "release ${bundle.release} ${bundle.model.file} ${answer.label} ${bundle.selfTest(runtimes)}"
    }
} catch (error: BundleException) {
    error.message!!
}

/** How many of the shared vectors come out otherwise. */
fun vectors(file: File): List<Int> = (Json.parse(file.readText())["vectors"] as List<*>).map(::asMap).mapIndexedNotNull { index, case ->
    val bytes = decode(case["rgba"])
    val (width, height) = listOf("width", "height").map { (case[it] as Double).toInt() }
    val picture = Picture(width, height, IntArray(width * height) { place ->
        listOf(3, 0, 1, 2).fold(0) { pixel, channel -> pixel shl 8 or (bytes[4 * place + channel].toInt() and 255) }
    })
    val stored = TensorDescription(asMap(case["description"])).store(Preprocessing(asMap(case["preprocessing"])).apply(picture))
    val found = ByteArray(stored.data.capacity()).also { stored.data.duplicate().get(it) }
    index.takeIf { !found.contentEquals(decode(case["expected"])) }
}

/** Of processor time in all threads, least of several: other work on the machine does not count. */
fun milliseconds(work: () -> Unit): Double {
    val bean = ManagementFactory.getOperatingSystemMXBean() as OperatingSystemMXBean
    return (1..7).minOf { bean.processCpuTime.let { work(); (bean.processCpuTime - it) / 1e6 } }
}

/** A 20 MB model and a signed manifest of it; and 12 megapixels to 224 x 224, beside the JDK's own averaging. */
fun speed(folder: File, key: String): String {
    val model = ByteBuffer.allocateDirect(20_000_000)
    val (manifest, signature) = listOf("bundle.json", "bundle.sig").map { File(folder, it).readBytes() }
    val verify = milliseconds { sha256(model); check(Ed25519.isSignedBy(decode(key), signature, manifest)) }
    val picture = Picture(4000, 3000, IntArray(12_000_000) { it * 1234567 })
    val steps = Preprocessing(Json.parse(File(folder, "steps.json").readText()))
    val ours = milliseconds { steps.apply(picture) }
    val image = BufferedImage(4000, 3000, BufferedImage.TYPE_INT_RGB).also { it.setRGB(0, 0, 4000, 3000, picture.pixels, 0, 4000) }
    val theirs = milliseconds {
        val scaled = BufferedImage(299, 224, BufferedImage.TYPE_INT_RGB)
        scaled.graphics.drawImage(image.getScaledInstance(299, 224, Image.SCALE_AREA_AVERAGING), 0, 0, null)
    }
    return """{"verify": $verify, "ours": $ours, "theirs": $theirs}"""
}

fun main(arguments: Array<String>) {
    val folder = File(arguments[1])
    val key = arguments.getOrElse(2) { "" }
    val both = listOf(Recorded(folder, "tflite", 0.0), Recorded(folder, "onnxruntime", 0.0))
    println(when (arguments[0]) {
        "vectors" -> vectors(folder)
        "open" -> opened(folder, key, both)
        "older" -> opened(folder, key, both, seen = 99)
        "other" -> opened(folder, key, both, name = "dogs")
        "fallback" -> opened(folder, key, listOf(Missing("tflite"), Recorded(folder, "mnn", 0.0)))
        "none" -> opened(folder, key, listOf(Missing("tflite")))
        "wrong" -> opened(folder, key, listOf(Recorded(folder, "tflite", 1.5)))
        "empty" -> try { Preprocessing(Json.parse(File(folder, "steps.json").readText())).apply(Picture(0, 5, IntArray(0))) }
            catch (error: BundleException) { error.message }
        "huge" -> try { Preprocessing(Json.parse(File(folder, "steps.json").readText())).apply(Picture(1 shl 20, 1 shl 20, IntArray(0))) }
            catch (error: BundleException) { error.message }
        "turn" -> (0..4).map { Picture(2, 3, intArrayOf(1, 2, 3, 4, 5, 6)).rotated(it).pixels.toList() }
        "upright" -> (1..8).map { Picture(2, 3, intArrayOf(1, 2, 3, 4, 5, 6)).upright(it) }.map { listOf(it.width) + it.pixels.toList() }
        else -> speed(folder, key)
    })
}
