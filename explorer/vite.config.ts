import { defineConfig } from "vite";

// One classic script and one style sheet with names that never change: modules do not load from file://.
export default defineConfig({
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    outDir: "../src/theodolite/explorer/static",
    emptyOutDir: false,
    target: "es2022",
    copyPublicDir: false,
    cssCodeSplit: false,
    lib: { entry: "src/main.tsx", formats: ["iife"], name: "theodoliteExplorer", fileName: () => "explorer.js" },
    rollupOptions: { output: { assetFileNames: "explorer.[ext]" } },
  },
  define: { "process.env.NODE_ENV": JSON.stringify("production") },
});
