import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * A single Elasticsearch node for tests, assembled from the jars of Maven Central: java -cp 'lib/*:launcher' Node HOME
 * [key=value ...]. HOME holds config, data, logs, modules and plugins. It runs until a signal ends it.
 */
public final class Node {
  public static void main(String[] args) throws Exception {
    Path home = Path.of(args[0]).toAbsolutePath();
    for (String dir : new String[] {"config", "data", "logs", "plugins"}) {
      Files.createDirectories(home.resolve(dir));
    }
    Map<String, String> settings = new HashMap<>();
    settings.put("path.home", home.toString());
    for (int i = 1; i < args.length; i++) {
      String[] pair = args[i].split("=", 2);
      settings.put(pair[0], pair[1]);
    }
    System.setProperty("es.path.home", home.toString());
    LogConfigurator.configureESLogging();
    LogConfigurator.configureWithoutConfig(Settings.EMPTY);
    Environment env =
        InternalSettingsPreparer.prepareEnvironment(
            Settings.EMPTY, settings, home.resolve("config"), () -> settings.get("node.name"));
    PluginsLoader plugins =
        PluginsLoader.createPluginsLoader(
            PluginsLoader.loadModulesBundles(env.modulesDir()),
            PluginsLoader.loadPluginsBundles(env.pluginsDir()),
            Map.of(),
            false);
    org.elasticsearch.node.Node node = new org.elasticsearch.node.Node(env, plugins);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
    node.start();
    Thread.currentThread().join();
  }

  private static void close(org.elasticsearch.node.Node node) {
    try {
      node.close();
    } catch (Exception e) {
      e.printStackTrace();
    }
  }
}
