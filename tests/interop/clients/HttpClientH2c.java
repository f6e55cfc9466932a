import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;

/** Java's java.net.http.HttpClient as it comes: it would rather speak HTTP/2, and asks for it with Upgrade: h2c. */
class HttpClientH2c {
    public static void main(String[] arguments) throws Exception {
        Path answers = Path.of(arguments[1]);
        HttpClient client = HttpClient.newHttpClient();
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            String[] words = line.split("\t");
            String step = words[0], method = words[1], how = words[4];
            var request = HttpRequest.newBuilder(URI.create(words[2]))
                .timeout(Duration.ofSeconds(20))
                .header("Authorization", "Basic Y2xpZW50OmNsaWVudA==")
                .expectContinue(how.equals("expect"));
            if (!how.equals("none")) {
                request.header("Content-Type", "application/json");
            }
            var answer = client.send(request.method(method, content(how, Path.of(words[3]))).build(), BodyHandlers.ofByteArray());
            Files.write(answers.resolve(step), answer.body());
            System.out.printf("%s\t%d\t%s%n", step, answer.statusCode(), answer.headers().firstValue("Content-Type").orElse(""));
        }
    }

    private static BodyPublisher content(String how, Path body) throws Exception {
        if (how.equals("none")) {
            return BodyPublishers.noBody();
        }
        var content = Files.readAllBytes(body);
        return how.equals("chunked")
            ? BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(content)) // of a length that nobody has told
            : BodyPublishers.ofByteArray(content);
    }
}
