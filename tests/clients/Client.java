import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.Arrays;

/** A client in Java: `java Client.java VERSION PORT`, as client.py; a line's fields are separated by tabs.
    VERSION is HTTP_1_1, or HTTP_2, which asks to upgrade each request. */
class Client {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newBuilder().version(HttpClient.Version.valueOf(arguments[0])).build();
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            var fields = line.split("\t", -1);  // method, path, type, accept, size, text, chunked
            var text = fields[5].getBytes();
            var body = Arrays.copyOf(text, Integer.parseInt(fields[4]));
            Arrays.fill(body, text.length, body.length, (byte) ' ');
            var request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + arguments[1] + fields[1]))
                .timeout(Duration.ofSeconds(30)).header("Content-Type", fields[2]);
            if (!fields[3].isEmpty()) request.header("Accept", fields[3]);
            var content = fields[6].equals("true")
                ? BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body)) : BodyPublishers.ofByteArray(body);
            var answer = client.send(request.method(fields[0], content).build(), BodyHandlers.ofByteArray());
            System.out.println(answer.statusCode());
        }
    }
}
