package android.graphics;

public abstract class Bitmap {
    public enum Config { ARGB_8888, HARDWARE }
    public abstract int getWidth();
    public abstract int getHeight();
    public abstract boolean isRecycled();
    public abstract Config getConfig();
    public abstract Bitmap copy(Config config, boolean mutable);
    public abstract void getPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height);
}
