package android.content.res;

import java.io.IOException;
import java.io.InputStream;

public abstract class AssetManager {
    public abstract AssetFileDescriptor openFd(String path) throws IOException;
    public abstract InputStream open(String path) throws IOException;
}
