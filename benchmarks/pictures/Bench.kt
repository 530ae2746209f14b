package edgecomp.bench

import java.awt.Image
import java.awt.RenderingHints
import java.awt.image.BufferedImage
import java.io.File
import java.lang.management.ManagementFactory

/** What `benchmarks/pictures.py` times on the JVM: a picture of noise, the module's own way and the JDK's. */
fun main(arguments: Array<String>) {
    val (width, height, side, rounds) = arguments.drop(1).map(String::toInt)
    val steps = Preprocessing(Json.parse(File(arguments[0]).readText()))
    val pixels = IntArray(width * height) { it * 1234567 }
    val picture = Picture(width, height, pixels)
    val image = BufferedImage(width, height, BufferedImage.TYPE_INT_RGB).also { it.setRGB(0, 0, width, height, pixels, 0, width) }
    val size = Pair(Math.rint(width * side / height.toDouble()).toInt(), side)
    val work = mapOf<String, () -> Unit>(
        "edgecomp" to { steps.apply(picture) },
        "SCALE_AREA_AVERAGING" to { averaged(image, size) },
        "Graphics2D, halved step by step" to { halved(image, size) },
    )
    repeat(rounds) { work.forEach { (name, run) -> println("$name\t${milliseconds(run)}") } }
}

/** Of processor time, in all threads: the JDK averages in one of its own. */
private fun milliseconds(run: () -> Unit): Double {
    val bean = ManagementFactory.getOperatingSystemMXBean() as com.sun.management.OperatingSystemMXBean
    val start = bean.processCpuTime
    run()
    return (bean.processCpuTime - start) / 1e6
}

private fun averaged(image: BufferedImage, size: Pair<Int, Int>) {
    val made = BufferedImage(size.first, size.second, BufferedImage.TYPE_INT_RGB)
    made.graphics.drawImage(image.getScaledInstance(size.first, size.second, Image.SCALE_AREA_AVERAGING), 0, 0, null)
}

/** Bilinear halves until the size is near: the way that is taught for pictures without aliases. */
private fun halved(image: BufferedImage, size: Pair<Int, Int>) {
    var current = image
    while (current.width > size.first) {
        val (width, height) = Pair(maxOf(size.first, current.width / 2), maxOf(size.second, current.height / 2))
        val next = BufferedImage(width, height, BufferedImage.TYPE_INT_RGB)
        next.createGraphics().apply {
            setRenderingHint(RenderingHints.KEY_INTERPOLATION, RenderingHints.VALUE_INTERPOLATION_BILINEAR)
            drawImage(current, 0, 0, width, height, null)
            dispose()
        }
        current = next
    }
}
