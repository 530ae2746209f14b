package android.graphics;

public class BitmapFactory {
    public static class Options {
        public boolean inPremultiplied;
    }

    public static Bitmap decodeByteArray(byte[] data, int offset, int length, Options options) { return null; }
}
