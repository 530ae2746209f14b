package org.tensorflow.lite;

import java.nio.ByteBuffer;
import java.util.Map;

public class Interpreter implements AutoCloseable {
    public static class Options {
        public Options setNumThreads(int count) { return this; }
    }

    public Interpreter(ByteBuffer model, Options options) {}
    public void resizeInput(int index, int[] shape) {}
    public void allocateTensors() {}
    public Tensor getOutputTensor(int index) { return null; }
    public void runForMultipleInputsOutputs(Object[] inputs, Map<Integer, Object> outputs) {}
    @Override public void close() {}
}
