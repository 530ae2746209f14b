package com.taobao.android.mnn;

import android.content.Context;

public class MNNNetInstance {
    public static MNNNetInstance createFromFile(Context context, String file) { return null; }

    public static class Config {
        public int numThread = 4;
    }

    public class Session {
        public class Tensor {
            public void setInputFloatData(float[] data) {}
            public int[] getDimensions() { return null; }
            public float[] getFloatData() { return null; }
        }

        public void run() {}
        public Tensor getInput(String name) { return null; }
        public Tensor getOutput(String name) { return null; }
    }

    public Session createSession(Config config) { return null; }
    public void release() {}
}
